"""What is compared between citation networks: shapes of histories, degrees, clustering.

The metric of arXiv 2002.06628 was not available; these are ours. On the host, in float64.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, sparse, spatial, special

from nfnets_jax.citations.trajectories import CATEGORIES, Category

# The five lines that the code of arXiv 2002.06628 prints, with the nicknames of their categories.
MERGED: Mapping[str, tuple[Category, ...]] = {
    "early riser": (Category.PeakInit, Category.MonDec),
    "late riser": (Category.PeakLate,),
    "frequent riser": (Category.PeakMul,),
    "steady riser": (Category.MonIncr,),
    "other": (Category.Oth,),
}
LARGEST_EXPONENT = 20.0
# Papers that a tail has at least, and rows of a matrix that are multiplied at a time.
SMALLEST_TAIL = 10
BLOCK = 8192


class Shares(NamedTuple):
    """How histories are distributed over the categories; NaN where nothing can be divided.

    Attributes:
      num_good: papers with a category, the denominator of `all_six` and `merged`.
      num_classified: of these, those that are not Oth, the denominator of `classified`.
      all_six: float64 [6], in the order of `CATEGORIES`.
      merged: [5], in the order of `MERGED`.
      classified: [4], of `MERGED` without the last.
    """

    num_good: int
    num_classified: int
    all_six: np.ndarray
    merged: np.ndarray
    classified: np.ndarray

    def remark(self) -> str:
        """What is empty and therefore NaN; "" if nothing is."""
        if self.num_good == 0:
            return "no paper has a history that is long enough: all shares are NaN"
        if self.num_classified == 0:
            return ("all papers have less than one citation a year: their shares among classified "
                    "papers are NaN")
        return ""


def shares(categories: ArrayLike) -> Shares:
    """The shares of the categories among the papers that have one.

    Args:
      categories: integers of any shape, of `trajectories.classify`; several runs are pooled.
    """
    categories = np.ravel(np.asarray(categories))
    return shares_of_counts(np.bincount(categories[categories >= 0], minlength=len(CATEGORIES)))


def shares_of_counts(counts: ArrayLike) -> Shares:
    """The same from the numbers of papers, [6] in the order of `CATEGORIES`."""
    counts = np.asarray(counts, np.float64)
    merged = np.array([counts[list(group)].sum() for group in MERGED.values()])
    num_good, num_classified = counts.sum(), merged[:-1].sum()
    return Shares(int(num_good), int(num_classified), _divide(counts, num_good),
                  _divide(merged, num_good), _divide(merged[:-1], num_classified))


def _divide(counts: np.ndarray, total: float) -> np.ndarray:
    return counts / total if total > 0 else np.full(len(counts), np.nan)


def l1_distance(p: ArrayLike, q: ArrayLike) -> float:
    """sum |p - q|, between 0 and 2 for shares; NaN if one of them is."""
    return float(np.abs(np.asarray(p) - np.asarray(q)).sum())


def jensen_shannon(p: ArrayLike, q: ArrayLike) -> float:
    """The Jensen-Shannon divergence of two vectors of shares in bits; NaN if one of them is.

    0 for equal ones, 1 for those that have no category in common.
    """
    return float(spatial.distance.jensenshannon(p, q, base=2) ** 2)


def ccdf(in_degrees: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The values k that occur, and the share of papers with k citations or more."""
    values, counts = np.unique(np.asarray(in_degrees), return_counts=True)
    return values, np.cumsum(counts[::-1])[::-1] / max(counts.sum(), 1)


def degree_distance(a: ArrayLike, b: ArrayLike) -> float:
    """Kolmogorov-Smirnov: the largest difference of two distributions of in-degrees, or NaN."""
    a, b = np.asarray(a), np.asarray(b)
    if a.size == 0 or b.size == 0:
        return float("nan")
    size = int(max(a.max(), b.max())) + 1
    cdfs = [np.cumsum(np.bincount(d, minlength=size)) / d.size for d in (a, b)]
    return float(np.abs(cdfs[0] - cdfs[1]).max())


def top_share(in_degrees: ArrayLike, fraction: float = 0.01) -> float:
    """The share of all citations that the most cited papers have; NaN if there are none.

    Args:
      in_degrees: int [N].
      fraction: of papers, rounded to one or more.
    """
    in_degrees = np.sort(np.asarray(in_degrees))[::-1]
    total = in_degrees.sum()
    num_top = max(round(fraction * len(in_degrees)), 1)
    return float(in_degrees[:num_top].sum() / total) if total > 0 else float("nan")


class Tail(NamedTuple):
    """A power law k^-exponent fitted to the in-degrees from `minimum` on; NaN if there is none.

    Attributes:
      exponent: of maximum likelihood.
      std_error: of the exponent in a large sample, were the minimum known.
      minimum: the degree from which on the law fits best.
      num_papers: with that many citations or more.
      distance: Kolmogorov-Smirnov, of the law from the data.
    """

    exponent: float
    std_error: float
    minimum: int
    num_papers: int
    distance: float


def power_law_tail(in_degrees: ArrayLike, minimum: int | None = None) -> Tail:
    """Fits P(k) = k^-exponent / zeta(exponent, minimum) to the largest in-degrees.

    The method of Clauset, Shalizi and Newman, SIAM Review 51 (2009), section 3, for integers.
    That the fit is the best one does not say that it is good.

    Args:
      in_degrees: int [N].
      minimum: 1 or more; by default the one with the smallest distance among those that leave 10
        papers or more and two degrees or more.

    Raises:
      ValueError: if `minimum` is below 1.
    """
    if minimum is not None and minimum < 1:
        raise ValueError(f"minimum={minimum}: a power law has no papers without citations; "
                         "use 1 or more")
    in_degrees = np.asarray(in_degrees)
    values, counts = np.unique(in_degrees[in_degrees > 0], return_counts=True)
    following = np.cumsum(counts[::-1])[::-1]
    candidates = values[:-1][following[:-1] >= SMALLEST_TAIL] if minimum is None else [minimum]
    fits = [_fit_tail(values[values >= k], counts[values >= k], int(k)) for k in candidates]
    fits = [fit for fit in fits if fit is not None]
    nan = float("nan")
    return min(fits, key=lambda fit: fit.distance, default=Tail(nan, nan, minimum or 0, 0, nan))


def _fit_tail(values: np.ndarray, counts: np.ndarray, minimum: int) -> Tail | None:
    if len(values) < 2:
        return None
    num_papers = counts.sum()
    mean_log = counts @ np.log(values) / num_papers

    def loss(exponent: float) -> float:
        return np.log(special.zeta(exponent, minimum)) + exponent * mean_log

    exponent = optimize.minimize_scalar(loss, bounds=(1 + 1e-6, LARGEST_EXPONENT),
                                        method="bounded", options={"xatol": 1e-8}).x
    step = 1e-3 * (exponent - 1)
    curvature = (loss(exponent + step) - 2 * loss(exponent) + loss(exponent - step)) / step**2
    # The largest difference is at a degree that occurs, or just above one.
    scale = special.zeta(exponent, minimum)
    ours = np.append(np.cumsum(counts[::-1])[::-1], 0) / num_papers
    distance = max(np.abs(ours[:-1] - special.zeta(exponent, values) / scale).max(),
                   np.abs(ours[1:] - special.zeta(exponent, values + 1) / scale).max())
    return Tail(float(exponent), float(1 / np.sqrt(num_papers * curvature)), minimum,
                int(num_papers), float(distance))


def global_clustering(targets: ArrayLike, offsets: ArrayLike) -> float:
    """3 triangles / paths of length two, with all citations undirected and single, or NaN.

    Args:
      targets: int [E], the references of all papers one after another.
      offsets: int [N + 1], where those of each paper start.
    """
    targets, offsets = np.asarray(targets), np.asarray(offsets)
    num_papers = len(offsets) - 1
    sources = np.repeat(np.arange(num_papers), np.diff(offsets))
    kept = sources != targets
    pairs = np.unique(np.stack([np.minimum(sources, targets)[kept],
                                np.maximum(sources, targets)[kept]], axis=1), axis=0)
    degrees = np.bincount(pairs.ravel(), minlength=num_papers)
    paths = np.sum(degrees * (degrees - 1.0)) / 2
    if paths == 0:
        return float("nan")
    # From the end with fewer neighbours to the other: no row is longer than sqrt(2 E) then.
    rank = np.argsort(np.argsort(degrees, kind="stable"))
    low, high = np.sort(rank[pairs], axis=1).T
    upward = sparse.csr_array((np.ones(len(low)), (low, high)), shape=(num_papers, num_papers))
    triangles = sum((upward[start:start + BLOCK] @ upward * upward[start:start + BLOCK]).sum()
                    for start in range(0, num_papers, BLOCK))
    return float(3 * triangles / paths)
