"""Expected citations in closed form, for weights that are linear in the in-degree.

A paper draws its m references one by one, with replacement, node j with probability
(d_j + a_j) / W, where d_j are in-degrees, frozen while it draws, and W = sum_j (d_j + a_j). W does
not depend on chance given the a_j, and each arrival multiplies E[d_i] + a_i of every node by
1 + m / W:

    E[d_i(n)] + a_i = (d_i(b) + a_i) prod_{s = b}^{n - 1} (1 + m_s / W_s)

s counts the nodes that are there when a paper draws, b those right after node i came. So the
expected citations of a year are, for all nodes, a constant of the node times one function of time:
no node alone can have an early peak. a_j = a is Price's model, a_j = f_j additive fitness given f.
Derived here; arXiv 2002.06628 states a theorem to this effect, whose text was not available.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

LARGEST_SAMPLE = 2000  # of papers whose laws are averaged


def expected_citations_per_year(
    years: ArrayLike,
    num_references: ArrayLike,
    static: ArrayLike,
    *,
    seed_in_degrees: ArrayLike,
) -> np.ndarray:
    """The mean of citations per year, with references drawn with replacement.

    Without replacement the most cited papers are capped, and the others get more than this.

    Args:
      years: int [N], non-decreasing and from 0 on, of all papers, the seeds first.
      num_references: int [N]; those of the seeds are not looked at.
      static: the weights' part a that is not the in-degree, a number or [N]; above 0 for one seed
        or more.
      seed_in_degrees: int [num_seeds], when the first arrival draws.

    Returns:
      float64 [N, last year + 1]; the citations that the seeds start with are in column 0.
    """
    years, seed_in_degrees = np.asarray(years), np.asarray(seed_in_degrees, np.float64)
    num_papers, num_seeds = len(years), len(seed_in_degrees)
    static = np.broadcast_to(np.asarray(static, np.float64), (num_papers,))
    growth = _log_growth(num_references, static, seed_in_degrees)
    start = static.copy()
    start[:num_seeds] += seed_in_degrees
    ends = np.searchsorted(years, np.arange(years[-1] + 1), side="right")
    born = np.maximum(np.arange(num_papers) + 1, num_seeds)
    factors = np.exp(growth[np.maximum(ends, born[:, None])] - growth[born][:, None])
    totals = start[:, None] * factors - static[:, None]
    return np.diff(totals, axis=1, prepend=0.0)


def _log_growth(num_references, static, seed_in_degrees) -> np.ndarray:
    """[N + 1]: the sum of log(1 + m_s / W_s) over the papers before each, and over all."""
    num_papers = len(static)
    references = np.where(np.arange(num_papers) < len(seed_in_degrees), 0.0, num_references)
    # Row s: what paper s sees. Seeds see nothing.
    weight = (np.cumsum(static) - static + seed_in_degrees.sum()
              + np.cumsum(references) - references)
    growth = np.zeros(num_papers + 1)
    growth[1:] = np.cumsum(np.log1p(np.divide(references, weight, out=np.zeros(num_papers),
                                              where=references > 0)))
    return growth


def expected_ccdf(in_degrees: ArrayLike, num_references: ArrayLike, a: float, *,
                  seed_in_degrees: ArrayLike) -> np.ndarray:
    """The expected share of papers with q citations or more in a network of Price's model.

    Citations are a birth process with rates in proportion to q + a. After the time in which the
    mean of q + a has grown by F = prod (1 + m_s / W_s), those that a paper has got are negative
    binomial with the parameters q_0 + a and 1 / F. That is exact for small m_s (q + a) / W_s, and
    has the exact mean always. With many papers the average over all of them is `price_ccdf`; with
    a far below m, that takes far more papers than there are anywhere.

    Args:
      in_degrees: q.
      num_references: int [N], those of the seeds are not looked at.
      a: added to the in-degree.
      seed_in_degrees: int [num_seeds], when the first arrival draws.
    """
    q = np.asarray(in_degrees, np.float64)
    num_papers, num_seeds = len(num_references), len(seed_in_degrees)
    seeds = np.asarray(seed_in_degrees, np.float64)
    growth = _log_growth(num_references, np.full(num_papers, a), seeds)
    # Of the papers that arrive some stand for their neighbours, too.
    arrivals = np.arange(num_seeds, num_papers)
    if len(arrivals) > LARGEST_SAMPLE:
        middles = (np.arange(LARGEST_SAMPLE) + 0.5) * (len(arrivals) / LARGEST_SAMPLE)
        arrivals = num_seeds + middles.astype(int)
    seeds, num_alike = np.unique(seeds, return_counts=True)
    born = np.concatenate([np.full(len(seeds), num_seeds), arrivals + 1])
    start = np.concatenate([seeds, np.zeros(len(arrivals))])
    share = np.concatenate([num_alike, np.full(
        len(arrivals), (num_papers - num_seeds) / max(len(arrivals), 1))]) / num_papers
    new = q[..., None] - start
    with_more = special.betainc(np.maximum(new, 1.0), start + a,
                                -np.expm1(growth[born] - growth[-1]))
    return np.where(new <= 0, 1.0, with_more) @ share


def price_law(in_degrees: ArrayLike, m: float, a: float) -> np.ndarray:
    """The share of papers with q citations in a large network of Price's model.

        p_q = B(q + a, 2 + a / m) / B(a, 1 + a / m)

    B is Euler's beta function; Newman, Networks (2010), chapter 14 has it with a as here.

    Args:
      in_degrees: q.
      m: references of each paper.
      a: added to the in-degree.
    """
    q = np.asarray(in_degrees, np.float64)
    return np.exp(special.betaln(q + a, 2 + a / m) - special.betaln(a, 1 + a / m))


def price_ccdf(in_degrees: ArrayLike, m: float, a: float) -> np.ndarray:
    """The share of papers with q citations or more, B(q + a, 1 + a / m) / B(a, 1 + a / m).

    The sum of `price_law` from q on; arguments as there.
    """
    q = np.asarray(in_degrees, np.float64)
    return np.exp(special.betaln(q + a, 1 + a / m) - special.betaln(a, 1 + a / m))


def tail_exponent(m: float, a: float) -> float:
    """2 + a / m: p_q falls like q to the minus this."""
    return 2 + a / m


def growth_exponent(m: float, a: float) -> float:
    """beta = m / (m + a): with n papers, paper i has about a (n / i)^beta - a citations.

    If papers arrive ever faster, at the rate g, everyone's citations a year grow like
    e^(beta g t); at a constant rate they fall like t^(beta - 1).
    """
    return m / (m + a)


def visibility_factor(weight: ArrayLike, m: float, a: float) -> np.ndarray:
    """(W + m) / (W + m + a): by this (d_i + a) / W changes on average when a paper arrives.

    It is below 1: a node's chance to be cited only falls, in expectation.

    Args:
      weight: W, when the paper draws.
      m: its references.
      a: added to the in-degree.
    """
    total = np.asarray(weight, np.float64) + m
    return total / (total + a)
