"""The classifier against the vectors of its rules and against a literal reading of them."""

from fractions import Fraction

import jax
import numpy as np
import pytest

from nfnets_jax.citations.trajectories import CATEGORIES, Category, classify

VECTORS = [
    ([2] * 11, "PeakMul"),
    ([2] * 10, "NOT_GOOD"),
    (range(1, 13), "PeakMul"),
    (range(12, 0, -1), "PeakMul"),
    ([2, 5, 10, 5, 3, 2] + [1] * 6, "PeakInit"),
    ([10, 5, 3, 2] + [1] * 8, "MonDec"),
    ([1, 1, 1, 1, 2, 10, 4, 3, 2, 1, 1, 1], "PeakInit"),  # 5 years after the first
    ([1, 1, 1, 1, 2, 4, 10, 5, 2, 1, 1, 1], "PeakLate"),  # 6
    ([1, 3, 10, 3, 9] + [1] * 7, "PeakInit"),  # 2 years apart
    ([1, 3, 10, 3, 1, 9] + [1] * 6, "PeakMul"),  # 3
    ([1] * 10 + [2, 10], "MonIncr"),
    ([0] * 6 + [10, 5, 3] + [1] * 9, "MonDec"),
    ([5] + [0] * 10 + [5], "Oth"),
    ([6] + [0] * 10 + [6], "PeakMul"),  # on average exactly 1
    ([0] * 12, "NOT_GOOD"),
    ([9] * 9 + [0] * 9, "NOT_GOOD"),
]


def table(rows, num_years=24):
    counts = np.zeros((len(rows), num_years), np.int32)
    for row, values in zip(counts, rows, strict=True):
        row[:len(values)] = values
    return counts


def names(counts, **arguments):
    return [Category(c).name for c in np.asarray(classify(counts, **arguments))]


def literal(row, *, window, threshold, rules, start=None):
    """The category of one paper, in Python and in fractions."""
    cited = [t for t, c in enumerate(row) if c > 0 and (start is None or t >= start)]
    if not cited:
        return Category.NOT_GOOD
    first = cited[0] if start is None else start
    last = cited[-1] if rules == "code" else len(row) - 1
    if last - first + 1 < (11 if rules == "code" else 10):
        return Category.NOT_GOOD
    history = [Fraction(int(c)) for c in row[first:last + 1]]
    if sum(history) / len(history) < 1:
        return Category.Oth
    if rules == "cacm":
        windows = [history[max(t - 2, 0):t + 3] for t in range(len(history))]
        history = [sum(values) / len(values) for values in windows]
    peaks = []
    for t, height in enumerate(history):
        if height < Fraction(threshold).limit_denominator(100) * max(history):
            continue
        if rules == "cacm":
            later = [h for h in history[t:] if h != height]
            if t > 0 and history[t - 1] >= height or later and later[0] > height:
                continue
        if not peaks or t - peaks[-1] > 2:
            peaks.append(t)
    if len(peaks) > 1:
        return Category.PeakMul
    if peaks[0] == 0:
        return Category.MonDec
    if peaks[0] <= window:
        return Category.PeakInit
    return Category.MonIncr if peaks[0] == len(history) - 1 else Category.PeakLate


@pytest.fixture(scope="module")
def counts():
    """Random histories of many shapes: bursts, trends, gaps and short ones."""
    rng = np.random.default_rng(0)
    year = np.arange(24)
    start, center = rng.integers(0, 14, (600, 1)), rng.integers(0, 30, (600, 1))
    width, level = rng.uniform(0.5, 6, (600, 1)), rng.exponential(2, (600, 1))
    height = rng.exponential(10, (600, 1))
    mean = level + height * np.exp(-0.5 * ((year - center) / width) ** 2)
    return rng.poisson(mean * (year >= start)).astype(np.int32)


def test_vectors_of_the_rules():
    assert names(table([row for row, _ in VECTORS])) == [name for _, name in VECTORS]


@pytest.mark.parametrize("rules", ["code", "cacm"])
@pytest.mark.parametrize("window, threshold, published", [(5, 0.75, False), (0, 0.9, True),
                                                          (3, 0.5, False)])
def test_random_histories_follow_a_literal_reading(counts, rules, window, threshold, published):
    rng = np.random.default_rng(1)
    starts = rng.integers(0, 16, len(counts)) if published else [None] * len(counts)
    given = {"origin": "publication", "published": starts} if published else {}
    labels = classify(counts, window=window, threshold=threshold, rules=rules, **given)
    expected = [literal(row, window=window, threshold=threshold, rules=rules, start=start)
                for row, start in zip(counts, starts, strict=True)]
    np.testing.assert_array_equal(labels, expected)
    wanted = set(Category) - ({Category.PeakInit} if window == 0 else set())
    assert set(expected) == wanted  # else the test says little


def test_exponential_curves():
    # The category of (1 + r)^t does not depend on the scale.
    rates = np.array([0.02, 0.10, 0.11, 0.33, 0.34, 0.6])
    curves = np.round(1e4 * (1 + rates[:, None]) ** np.arange(15)).astype(np.int32)
    late, multiple = ["PeakLate"] * 2, ["PeakMul"] * 2
    assert names(curves) == multiple + late + ["MonIncr"] * 2
    assert names(curves[:, ::-1]) == multiple + ["MonDec"] * 4


def test_scale_and_shift_leave_a_category(counts):
    labels = np.asarray(classify(counts))
    kept = labels != Category.Oth
    np.testing.assert_array_equal(np.asarray(classify(7 * counts))[kept], labels[kept])
    shifted = np.pad(counts, ((0, 0), (4, 2)))
    np.testing.assert_array_equal(classify(shifted), labels)


def test_no_window_empties_early_risers_only(counts):
    labels, without = np.asarray(classify(counts)), np.asarray(classify(counts, window=0))
    early = labels == Category.PeakInit
    assert early.sum() > 20
    np.testing.assert_array_equal(without[~early], labels[~early])
    assert set(without[early]) <= {Category.PeakLate, Category.MonIncr}


def test_threshold_is_met_exactly():
    # 7/10 of the largest is reached, 69/100 is not.
    rows = [[10, 1, 1, 1, 7] + [1] * 8, [100, 1, 1, 1, 69] + [1] * 8]
    assert names(table(rows), threshold=0.7) == ["PeakMul", "MonDec"]
    # 0.7 x 2^30 = 751619276.8, which float32 does not tell from its neighbours.
    large = table([[2**30, 1, 1, 1, 751619277 - short] + [1] * 8 for short in (0, 1)])
    assert names(large, threshold=0.7) == ["PeakMul", "MonDec"]


def test_publication_starts_a_history_earlier_and_drops_what_came_before():
    rows = [[0] * 3 + [10, 5, 3] + [1] * 9, [50] + [0] * 2 + [10, 5, 3] + [1] * 9]
    arguments = {"origin": "publication", "published": np.array([1, 1])}
    assert names(table(rows)) == ["MonDec", "MonDec"]
    assert names(table(rows), **arguments) == ["PeakInit", "PeakInit"]


def test_blocks_and_jit_change_nothing(counts):
    many = np.tile(counts, (9, 1))  # more than a block of papers
    labels = np.asarray(jax.jit(classify)(many))
    np.testing.assert_array_equal(labels, np.tile(np.asarray(classify(counts)), 9))
    assert labels.dtype == np.int8 and len(CATEGORIES) == 6
    assert classify(np.zeros((0, 12), np.int32)).shape == (0,)


@pytest.mark.parametrize("arguments, message", [
    ({"window": -1}, "window=-1"), ({"threshold": 1.5}, "threshold=1.5"),
    ({"rules": "java"}, "rules='java'"), ({"origin": "birth"}, "origin='birth'"),
    ({"origin": "publication"}, "published=None"),
    ({"origin": "publication", "published": np.zeros(3, int)}, r"shape \(3,\)"),
])
def test_unknown_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        classify(np.ones((2, 12), np.int32), **arguments)
