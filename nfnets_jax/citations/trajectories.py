"""The shape of a paper's citations over the years, in six categories.

    PeakInit   one peak, after the first year and at most `window` years later   early riser
    PeakMul    several peaks                                                     frequent riser
    PeakLate   one peak, later than that and before the last year                late riser
    MonIncr    one peak, later than that and in the last year                    steady riser
    MonDec     one peak, in the first year                                       steady dropper
    Oth        less than one citation a year on average

rules="code" are those of the classifier in the repository of the authors of arXiv 2002.06628: the
history goes from the first to the last year with a citation and spans 11 years or more, and a peak
is the first of the years that reach `threshold` times the largest count; the next one that counts
is more than two years later. Nothing is smoothed, and a peak need not be a maximum.

rules="cacm" are those of Chakraborty et al. (CACM 2015), recalled and not verified: histories of 10
years or more, counts smoothed over five years. Ours, since the source could not be read: the
history goes on to the last column; the smoothing is centered and at the ends averages over the
years that there are; a peak is a local maximum of it that reaches `threshold` times the largest (of
equal years the first, and of two maxima at most two years apart the earlier one).
"""

import enum
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np


class Category(enum.IntEnum):
    """What `classify` returns; the names are those of the field."""

    NOT_GOOD = -1  # never cited, or too short a history: in no category and in no denominator
    PeakInit = 0
    PeakMul = 1
    PeakLate = 2
    MonIncr = 3
    MonDec = 4
    Oth = 5


CATEGORIES = tuple(category.name for category in Category if category >= 0)
RULES = ("code", "cacm")
ORIGINS = ("first_cited", "publication")
LARGEST_DENOMINATOR = 1000  # of the threshold as a fraction
# Of years within a peak that does not end it, and of a history.
PEAK_DISTANCE = 2
SHORTEST = {"code": 11, "cacm": 10}
BLOCK = 4096  # papers at a time, whose counts then stay in a cache


def classify(
    counts: jax.Array | np.ndarray,
    *,
    window: int = 5,
    threshold: float = 0.75,
    rules: str = "code",
    origin: str = "first_cited",
    published: jax.Array | np.ndarray | None = None,
) -> jax.Array:
    """The category of each paper, a `Category`; may be jitted over the arrays.

    The defaults of `window` and `threshold` are those of CACM 2015, recalled and not verified as
    those of arXiv 2002.06628.

    Args:
      counts: int32 [N, T], the citations of each paper in each year, below 2^31 / 60 in five years.
      window: years after the first in which a peak is an early one.
      threshold: in (0, 1], of the largest count; the nearest fraction with a denominator up to
        1000 is meant, so that the comparison is exact.
      rules: "code" or "cacm".
      origin: where a history starts: "first_cited" (the code's) or "publication" (recalled of CACM
        2015). Citations before the start are left out.
      published: int32 [N], the column of the year of publication, 0 to T - 1, with
        origin="publication".

    Returns:
      int8 [N].

    Raises:
      ValueError: if an argument has another shape or value.
    """
    counts = jnp.asarray(counts, jnp.int32)
    if counts.ndim != 2 or counts.shape[1] == 0:
        raise ValueError(f"counts of shape {counts.shape}: one row per paper and one column per "
                         "year are needed")
    if window < 0:
        raise ValueError(f"window={window} is negative; years from 0 up are allowed")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold} is not in (0, 1]")
    if rules not in RULES:
        raise ValueError(f"rules={rules!r} is none of {', '.join(RULES)}")
    if origin not in ORIGINS:
        raise ValueError(f"origin={origin!r} is none of {', '.join(ORIGINS)}")
    if (published is None) == (origin == "publication"):
        raise ValueError(f"origin={origin!r} with published={published}: the columns of the years "
                         "of publication go with origin='publication', and only with it")
    if published is None:
        first = jnp.argmax(counts > 0, axis=1).astype(jnp.int32)
    else:
        first = jnp.asarray(published, jnp.int32)
        if first.shape != counts.shape[:1]:
            raise ValueError(f"published has shape {first.shape} for {len(counts)} papers")
    fraction = Fraction(threshold).limit_denominator(LARGEST_DENOMINATOR)
    return _classify(counts, first, window, fraction.numerator, fraction.denominator, rules)


@jax.jit(static_argnames="rules")
def _classify(counts, first, window, numerator, denominator, rules):
    num_papers, num_years = counts.shape
    block = min(BLOCK, max(num_papers, 1))
    padding = -num_papers % block
    counts = jnp.pad(counts, ((0, padding), (0, 0))).reshape(-1, block, num_years)
    first = jnp.pad(first, (0, padding)).reshape(-1, block)

    def classify_block(args):
        # [T, papers]: every step of a scan over years then reads neighbours.
        return _classify_columns(args[0].T, args[1], window, numerator, denominator, rules)

    return jax.lax.map(classify_block, (counts, first)).reshape(-1)[:num_papers]


def _classify_columns(counts, first, window, numerator, denominator, rules):
    """The categories of counts [T, N] with histories that start at first [N]."""
    num_years = len(counts)
    year = jnp.arange(num_years, dtype=jnp.int32)[:, None]
    counts = jnp.where(year >= first, counts, 0)
    total = jnp.sum(counts, axis=0)
    last_cited = jnp.max(jnp.where(counts > 0, year, -1), axis=0)
    heights, last = counts, last_cited
    if rules == "cacm":
        heights, last = _smooth(counts, first), jnp.full_like(last_cited, num_years - 1)
    length = last - first + 1
    largest = jnp.max(heights, axis=0)
    # ceil(largest * numerator / denominator), without overflow
    least = (largest // denominator * numerator
             + -(-(largest % denominator * numerator) // denominator))
    eligible = heights >= least
    if rules == "cacm":
        eligible &= _local_maxima(heights, first)

    def step(carry, x):
        previous, num_peaks, peak = carry
        t, reaches = x
        accepted = reaches & (t - previous > PEAK_DISTANCE)
        return (jnp.where(accepted, t, previous), num_peaks + accepted,
                jnp.where(accepted & (num_peaks == 0), t, peak)), None

    zeros = jnp.zeros_like(first)
    (_, num_peaks, peak), _ = jax.lax.scan(
        step, (zeros - PEAK_DISTANCE - 1, zeros, zeros), (year[:, 0], eligible))
    return jnp.select(
        [(total == 0) | (length < SHORTEST[rules]), total < length, num_peaks > 1, peak == first,
         peak <= first + window, peak == last],
        [jnp.full_like(first, c) for c in (Category.NOT_GOOD, Category.Oth, Category.PeakMul,
                                           Category.MonDec, Category.PeakInit, Category.MonIncr)],
        Category.PeakLate).astype(jnp.int8)


def _smooth(counts, first):
    """60 times the mean of the years t - 2 to t + 2 within the history; -1 before it."""
    num_years = len(counts)
    year = jnp.arange(num_years, dtype=jnp.int32)[:, None]
    padded = jnp.pad(counts, ((2, 2), (0, 0)))
    sums = sum(padded[shift:shift + num_years] for shift in range(5))
    num_averaged = (jnp.minimum(year + 2, num_years - 1) - jnp.maximum(year - 2, first) + 1)
    return jnp.where(year >= first, sums * (60 // jnp.maximum(num_averaged, 1)), -1)


def _local_maxima(heights, first):
    """The first years of the plateaus with nothing higher next to them, before or after."""
    def step(carry, x):
        following, falls = carry
        falls = (following < x) | ((following == x) & falls)
        return (x, falls), falls

    start = (jnp.full_like(first, -1), jnp.ones_like(first, bool))
    _, falls = jax.lax.scan(step, start, heights, reverse=True)
    before = jnp.pad(heights[:-1], ((1, 0), (0, 0)), constant_values=-1)
    return falls & (heights > before)
