"""How the best learning rate grows with the batch size: a line, then a plateau.

With noise that dominates, the best learning rate is proportional to the batch size; once the
curvature does, it is constant (arXiv 2006.15081). So y = min(a + s x, c) is fitted to
y = log2(best learning rate) at x = log2(batch size), with errors from resampled seeds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nfnets_jax.analysis import scoring

_BREAKS_PER_UNIT = 64


class Fit(NamedTuple):
    """min(a + s x, c), written as c + s min(x - b, 0); arrays over the leading axes of y.

    Attributes:
      slope: s; NaN where all points lie on the plateau.
      plateau: c; NaN where the line reaches the last point, so that no plateau is seen.
      break_at: b, where the line meets the plateau; NaN where there is no line or no plateau.
      height: c, or the height of the line at its last point.
      end: b, or the last point.
      residual: root mean square over the points.
    """

    slope: np.ndarray
    plateau: np.ndarray
    break_at: np.ndarray
    height: np.ndarray
    end: np.ndarray
    residual: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The fitted y at x; of one fit."""
        return self.height + np.nan_to_num(self.slope) * np.minimum(x - self.end, 0)


class Scaling(NamedTuple):
    """The fit of a line of groups, and its errors.

    Attributes:
      batch_sizes: those with a best learning rate.
      fit: of log2 of the best learning rates.
      slope_error, plateau_error, break_error: standard deviations of the fits of the resamples, in
        the same units (log2); NaN with a single seed.
    """

    batch_sizes: np.ndarray
    fit: Fit
    slope_error: float
    plateau_error: float
    break_error: float


def fit(x: np.ndarray, y: np.ndarray, slope: float | None = None) -> Fit:
    """Least squares for y = min(a + s x, c), by trying breaks at every 1/64 and at the points.

    Args:
      x: [n], increasing.
      y: [..., n]; NaN leaves a point out.
      slope: fixes s; None fits any s of at least 0.

    Of fits that are equally good the one with the smallest break is taken. With a free slope at
    least two points lie on the line, the break included, since one says nothing about it.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    grid = np.union1d(x, np.arange(x[0], x[-1], 1 / _BREAKS_PER_UNIT))
    if slope is None:
        grid = np.append(x[0], grid[grid >= x[min(1, len(x) - 1)]])  # the first: no line at all
    z = np.minimum(x - grid[:, None], 0)  # [breaks, n]
    weight = np.isfinite(y).astype(np.float64)
    y = np.where(weight > 0, y, 0.0)
    total = weight.sum(-1)[..., None]  # [..., 1], all below [..., breaks]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_z, mean_y = weight @ z.T / total, y.sum(-1)[..., None] / total
        zz = weight @ np.square(z).T / total - np.square(mean_z)
        zy = y @ z.T / total - mean_z * mean_y
        yy = np.square(y).sum(-1)[..., None] / total - np.square(mean_y)
        s = np.full_like(zz, slope) if slope is not None else np.where(
            zz > 1e-12, np.maximum(zy / np.maximum(zz, 1e-12), 0), 0.0)
        square = np.maximum(yy - 2 * s * zy + np.square(s) * zz, 0)
    square = np.where(np.isfinite(square), square, np.inf)
    best = np.argmax(square <= square.min(-1, keepdims=True) + 1e-12, axis=-1)[..., None]
    s, square, mean_z = (np.take_along_axis(a, best, -1)[..., 0] for a in (s, square, mean_z))
    height, end = mean_y[..., 0] - s * mean_z, grid[best[..., 0]]
    line, plateau = (end > x[0]) & (s > 0), end < x[-1]
    nothing = total[..., 0] == 0
    return Fit(np.where(line & ~nothing, s, np.nan), np.where(plateau | ~line, height, np.nan),
               np.where(line & plateau & ~nothing, end, np.nan), height, end, np.sqrt(square))


def fit_scaling(scores: scoring.Scores, groups: Sequence[scoring.Group], slope: float | None = None,
                resamples: int = 1000, seed: int = 0) -> Scaling | None:
    """Fits the best learning rates of groups that differ in the batch size only.

    Args:
      scores: what the groups belong to.
      groups: one for each batch size.
      slope: as in `fit`.
      resamples: of the seeds, with replacement. One draw serves all runs, because those with the
        same seed start from the same weights.
      seed: of the resampling.

    Returns:
      None with fewer than two batch sizes that have a best learning rate.
    """
    groups = sorted((g for g in groups if g.optimum and g.optimum.learning_rate),
                    key=lambda group: group.batch_size)
    if len(groups) < 2:
        return None
    batch_sizes = np.array([group.batch_size for group in groups], np.float64)
    x = np.log2(batch_sizes)
    best = np.log2([group.optimum.learning_rate for group in groups])
    rates = resample_optima(scores, groups, resamples, seed)
    with np.errstate(divide="ignore"):
        drawn = fit(x, np.log2(rates), slope)
    errors = [_spread(a) for a in (drawn.slope, drawn.plateau, drawn.break_at)]
    several = max(len(cell.rows) for group in groups for cell in group.cells) > 1
    return Scaling(batch_sizes, fit(x, best, slope), *(errors if several else [np.nan] * 3))


def resample_optima(scores: scoring.Scores, groups: Sequence[scoring.Group], resamples: int = 1000,
                    seed: int = 0) -> np.ndarray:
    """The best learning rates [resamples, groups] when seeds are drawn with replacement.

    NaN where fewer than k runs survived at every learning rate.
    """
    cells = [cell for group in groups for cell in group.cells]
    seeds = sorted({row.get(scoring.SEED, 0) for cell in cells for row in cell.rows})
    index = {value: i for i, value in enumerate(seeds)}
    drawn = np.random.default_rng(seed).integers(len(seeds), size=(resamples, len(seeds)))
    optima = np.empty((resamples, len(groups)))
    for column, group in enumerate(groups):
        gains = np.stack([_resample_cell(scores, cell, index, drawn) for cell in group.cells])
        best = np.argmax(gains, axis=0)
        rates = np.array([cell.learning_rate for cell in group.cells], np.float64)
        optima[:, column] = np.where(np.isfinite(gains.max(axis=0)), rates[best], np.nan)
    return optima


def _resample_cell(scores, cell, index, drawn) -> np.ndarray:
    """Score of a cell in each resample, larger for better; -inf where it has failed."""
    k = scores.best_k or len(cell.rows)
    gain, survived = np.full(len(index), -np.inf), np.zeros(len(index), bool)
    for row, value in zip(cell.rows, cell.values, strict=True):
        at = index[row.get(scoring.SEED, 0)]
        if not np.isnan(value):
            gain[at] = value if scores.larger_is_better else -value
            survived[at] = row["status"] != "diverged" and row.get(scores.metric) is not None
    best = -np.partition(-gain[drawn], k - 1, axis=-1)[:, :k]
    return np.where(survived[drawn].sum(-1) >= k, best.mean(-1), -np.inf)


def _spread(values) -> float:
    values = values[np.isfinite(values)]
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
