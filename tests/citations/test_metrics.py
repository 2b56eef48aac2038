"""Metrics against counts by hand, scipy, matrix powers and another library's fit."""

import numpy as np
import pytest
from scipy import special, stats

from nfnets_jax.citations import metrics
from nfnets_jax.citations.trajectories import Category


def test_shares_of_six_five_and_four():
    c = Category
    categories = [c.PeakInit] * 3 + [c.PeakMul] * 2 + [c.PeakLate, c.MonIncr, c.MonDec]
    categories = np.array([categories + [c.Oth] * 8 + [c.NOT_GOOD] * 4], np.int8)
    shares = metrics.shares(categories)
    assert shares[:2] == (16, 8) and shares.remark() == ""
    np.testing.assert_allclose(shares.all_six, np.array([3, 2, 1, 1, 1, 8]) / 16)
    np.testing.assert_allclose(shares.merged, np.array([4, 1, 2, 1, 8]) / 16)
    np.testing.assert_allclose(shares.classified, np.array([4, 1, 2, 1]) / 8)


def test_empty_denominators_are_nan_and_say_so():
    nothing = metrics.shares([Category.NOT_GOOD] * 3)
    assert np.isnan(nothing.all_six).all() and "no paper" in nothing.remark()
    others = metrics.shares([Category.Oth, Category.NOT_GOOD])
    np.testing.assert_array_equal(others.merged, [0, 0, 0, 0, 1])
    assert np.isnan(others.classified).all() and "less than one citation" in others.remark()
    even = np.full(4, 0.25)
    assert np.isnan(metrics.l1_distance(others.classified, even))
    assert np.isnan(metrics.jensen_shannon(others.classified, even))
    assert np.isnan(metrics.degree_distance([], [1])) and np.isnan(metrics.top_share([0, 0]))
    assert np.isnan(metrics.power_law_tail([0, 2, 2]).exponent)
    assert np.isnan(metrics.global_clustering([0], [0, 0, 1]))


def test_distances_of_shares():
    assert metrics.l1_distance([1, 0], [0, 1]) == 2
    assert metrics.jensen_shannon([1, 0], [0, 1]) == pytest.approx(1)
    # H(3/4) - H(1/2) / 2 in bits.
    entropy = -0.75 * np.log2(0.75) - 0.25 * np.log2(0.25)
    assert metrics.jensen_shannon([1, 0], [0.5, 0.5]) == pytest.approx(entropy - 0.5)
    assert metrics.jensen_shannon([0.2, 0.8], [0.2, 0.8]) == pytest.approx(0, abs=1e-12)


def test_degrees():
    rng = np.random.default_rng(0)
    a, b = rng.poisson(3, 400), rng.poisson(4, 300)
    assert metrics.degree_distance(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic)
    values, share = metrics.ccdf([0, 2, 2, 5])
    assert (values.tolist(), share.tolist()) == ([0, 2, 5], [1, 0.75, 0.25])
    in_degrees = np.append(np.ones(198, int), [50, 52])
    assert metrics.top_share(in_degrees) == pytest.approx(102 / 300)
    assert metrics.top_share([3, 1]) == 0.75  # one paper at least


def test_power_law_tail_has_the_maximum_likelihood():
    # A flat bottom up to 7, a power law from 8 on. The package powerlaw 2.0.0 finds 2.30590 from 8
    # with a distance of 0.01918; its optimizer stops at about 1e-5.
    k = np.arange(1, 400)
    in_degrees = np.repeat(k, np.where(k < 8, 900, np.round(40000 * k**-2.2)).astype(int))
    tail = metrics.power_law_tail(np.append(in_degrees, np.zeros(50, int)))
    assert (tail.minimum, tail.num_papers) == (8, 2903)
    assert tail.exponent == pytest.approx(2.30590, abs=5e-5)
    assert tail.distance == pytest.approx(0.01918, abs=1e-5)
    # The score is zero: E[log k] under the law is the mean of log k.
    step, mean_log = 1e-4, np.log(in_degrees[in_degrees >= 8]).mean()
    zeta = special.zeta(tail.exponent + np.array([-step, step]), 8)
    assert -np.diff(np.log(zeta))[0] / (2 * step) == pytest.approx(mean_log, abs=1e-6)


def test_power_law_tail_of_samples():
    samples = np.random.default_rng(0).zipf(2.5, (300, 1000))
    fits = [metrics.power_law_tail(sample, 1) for sample in samples]
    exponents, errors = np.array([fit[:2] for fit in fits]).T
    # The estimator's bias is of order 1 / 1000, its spread known to 1 / sqrt(600).
    assert abs(exponents.mean() - 2.5) < 3 * errors.mean() / np.sqrt(300) + 0.005
    assert exponents.std() / errors.mean() == pytest.approx(1, abs=0.12)
    with pytest.raises(ValueError, match="minimum=0"):
        metrics.power_law_tail(samples[0], 0)


def test_global_clustering():
    rng = np.random.default_rng(0)
    references = [rng.integers(0, 40, count) for count in rng.integers(0, 9, 40)]
    references[3] = np.array([3, 7, 7])  # itself, and one twice
    references[7] = np.array([3])  # and back
    offsets = np.cumsum([0] + [len(r) for r in references])
    adjacency = np.zeros((40, 40))
    for paper, cited in enumerate(references):
        adjacency[paper, cited] = adjacency[cited, paper] = 1
    np.fill_diagonal(adjacency, 0)
    squared = adjacency @ adjacency
    expected = np.trace(squared @ adjacency) / (squared.sum() - np.trace(squared))
    targets = np.concatenate(references)
    assert metrics.global_clustering(targets, offsets) == pytest.approx(expected)
    assert metrics.global_clustering([0, 0, 1], [0, 0, 1, 3]) == 1
    assert metrics.global_clustering([0, 0, 0], [0, 0, 1, 2, 3]) == 0
