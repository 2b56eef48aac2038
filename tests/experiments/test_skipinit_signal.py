"""Variances at initialization, against the closed forms of arXiv 2002.10444.

At half the width and batch of the study's claim (512 channels, 1024 examples) and the gates of the
claim; the full size takes a minute.
"""

import math

import numpy as np
import pytest

from experiments.skipinit.signal import expected_shares, expected_variance, measure, path_lengths

DEPTH = 100
SIZES = dict(width=256, batch_size=512)
SEEDS = (0, 1, 2)


def measured(kind, **arguments):
    return [measure(kind, **{**SIZES, "depth": DEPTH, **arguments}, seed=seed) for seed in SEEDS]


def doublings(values):
    return np.polyfit(np.arange(len(values)), np.log2(values), 1)[0]


def test_without_a_norm_each_block_doubles_the_variance_and_sqrt_2_takes_that_back():
    for plain, divided in zip(measured("none"), measured("sqrt2"), strict=True):
        assert abs(doublings(plain.variance) - 1) < 0.02
        assert abs(doublings(divided.variance)) < 0.02
        np.testing.assert_allclose(
            divided.variance, plain.variance / 2.0 ** np.arange(DEPTH + 1), rtol=1e-4)
        # The variance is kept, and yet the branch has half of it in every block.
        np.testing.assert_allclose(plain.shares, 0.5, atol=0.04)
        np.testing.assert_allclose(divided.shares, plain.shares, rtol=1e-4)
        assert abs(path_lengths(divided.shares) @ np.arange(DEPTH + 1) - DEPTH / 2) < 1


def test_with_batch_norm_the_variance_counts_the_blocks_and_the_branch_s_share_falls():
    for signal in measured("bn"):
        ratio = signal.variance / expected_variance("bn", DEPTH)
        assert 0.95 < ratio[4:].min() and ratio[4:].max() < 1.05
        np.testing.assert_allclose(signal.shares / expected_shares("bn", DEPTH), 1, atol=0.06)
        harmonic = sum(1 / (block + 1) for block in range(1, DEPTH + 1))
        assert signal.shares.sum() == pytest.approx(harmonic, rel=0.01)


def test_a_gain_of_one_over_sqrt_depth_ends_near_e():
    for signal in measured("skipinit", alpha=DEPTH**-0.5):
        assert signal.variance[-1] == pytest.approx(1.01**100, abs=0.1)
        np.testing.assert_allclose(signal.shares, 1 / 101, rtol=0.04)
    for signal in measured("skipinit", alpha=0.0):
        np.testing.assert_array_equal(signal.variance, signal.variance[0])
        assert not np.any(signal.shares)


def test_behind_a_relu_the_second_moment_doubles_and_batch_norm_makes_it_count():
    for signal in measured("none", depth=12, relu=True):
        assert abs(doublings(signal.second_moment) - 1) < 0.06
    for signal in measured("bn", depth=50, relu=True):
        blocks = np.arange(51.0)
        # A half-normal variable's variance times He's gain, and its squared mean.
        np.testing.assert_allclose(signal.variance, 1 + (1 - 1 / math.pi) * blocks, rtol=0.07)
        np.testing.assert_allclose(signal.second_moment, 1 + blocks, rtol=0.07)


def test_expected_variances_and_shares_are_one_recursion():
    for kind, alpha in (("none", 1.0), ("bn", 1.0), ("skipinit", 0.3)):
        variance = expected_variance(kind, 20, alpha)
        branch = np.diff(variance)
        np.testing.assert_allclose(expected_shares(kind, 20, alpha), branch / variance[1:])
    ends = [expected_variance("skipinit", d, d**-0.5)[-1] for d in (6, 48, 498)]
    np.testing.assert_allclose(ends, [2.5216, 2.6905, 2.7156], atol=5e-5)


def test_path_lengths_have_the_moments_of_their_generating_function():
    for depth, mean in ((6, 1.593), (48, 3.479), (498, 5.791), (1000, 6.486)):
        law = path_lengths(expected_shares("bn", depth))
        lengths = np.arange(depth + 1)
        assert law.sum() == pytest.approx(1)
        assert law @ lengths == pytest.approx(mean, abs=5e-4)
        blocks = np.arange(1, depth + 1)
        variance = law @ lengths**2 - (law @ lengths) ** 2
        assert variance == pytest.approx(np.sum(blocks / (blocks + 1) ** 2))
    # (z + 1) (z + 2) ... (z + 5), whose coefficients are Stirling's, over 6!.
    np.testing.assert_allclose(
        path_lengths(expected_shares("bn", 5)), np.array([120, 274, 225, 85, 15, 1]) / 720)


def test_path_lengths_of_equal_shares_are_binomial():
    for kind in ("none", "sqrt2"):
        law = path_lengths(expected_shares(kind, 9))
        np.testing.assert_allclose(law, [math.comb(9, k) / 2**9 for k in range(10)])
    law = path_lengths(expected_shares("skipinit", 48, 48**-0.5))
    assert law @ np.arange(49) == pytest.approx(48 / 49)
    np.testing.assert_array_equal(path_lengths(expected_shares("skipinit", 3, 0.0)), [1, 0, 0, 0])
