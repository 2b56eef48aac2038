"""Fitness, weights and moving centres against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.citations import weights
from nfnets_jax.citations.arrivals import Arrivals, synthetic


def test_fitness_is_lomax():
    size = 100_000
    for exponent in (1.0, 2.0):
        fitness = np.exp(weights.draw_log_fitness(jax.random.key(0), size, exponent))
        assert fitness.min() < 1e-3  # the support begins at 0
        for x in (0.1, 1.0, 9.0, 99.0):
            p = (1 + x) ** -exponent  # 1/2 above 1 and 1/10 above 9, for the exponent 1
            assert abs(np.mean(fitness > x) - p) < 4 * np.sqrt(p * (1 - p) / size)
    classical = np.exp(weights.draw_log_fitness(jax.random.key(0), size, 2.0, "pareto_type1"))
    np.testing.assert_allclose(classical, 1 + fitness, rtol=2e-5)


def test_attraction():
    degrees, fitness = np.array([0, 1, 7]), np.array([0.01, 2.0, 1e6])
    for model, expected in (("ba", degrees + 0.1), ("additive", degrees + fitness),
                            ("multiplicative", (degrees + 1) * fitness),
                            ("lbm", (degrees + 1) * fitness)):
        found = weights.log_attraction(model, jnp.asarray(degrees), jnp.log(fitness), 0.1)
        np.testing.assert_allclose(found, np.log(expected), rtol=2e-6, atol=1e-6)


def arrivals_of(years, num_seeds, positions=None, papers_per_year=None):
    size = len(years)
    return Arrivals(np.array(years, np.int32), np.ones(size, np.int32), num_seeds,
                    np.zeros(0, np.int32), np.zeros(num_seeds + 1, np.int32), positions,
                    papers_per_year)


def test_the_centre_jumps_after_a_number_of_papers_or_of_months():
    years = [0] * 5 + [1] * 24 + [2] * 12 + [3] * 6
    arrivals = arrivals_of(years, 5)

    def places(skip):
        return (1 + np.flatnonzero(weights.center_jumps(arrivals, skip))).tolist()

    assert places(7) == [7, 14, 21, 28, 35, 42]
    # A month has 2, 1 and, since it is at least one, 1 of the papers of a year.
    assert places(-1) == [*range(6, 30, 2), *range(30, 48)]
    # Three months have 6, 3 and 1.
    assert places(-3) == [6, 12, 18, 24, 30, 33, 36, 39, *range(42, 48)]
    with pytest.raises(ValueError, match="skip=0: must be a number of papers, or minus"):
        weights.center_jumps(arrivals, 0)


def test_a_jump_on_a_paper_without_references_is_lost():
    # The papers in places 4 and 6 of the list never arrive.
    arrivals = arrivals_of([0, 0, 1, 1, 1], 2, np.array([1, 2, 3, 5, 8]), np.array([2, 6]))
    assert weights.center_jumps(arrivals, 2).tolist() == [False, False, False, False, True]
    # Years are as long as the list says: a year of 6 papers, half a year of 3.
    assert weights.center_jumps(arrivals, -6).tolist() == [False, False, True, False, False]


def test_locations():
    arrivals = synthetic("flat", num_papers=4000)
    uniform = np.asarray(weights.draw_locations(jax.random.key(0), "lbm", arrivals, 0.1, -1))
    assert 0 <= uniform.min() and uniform.max() < 1
    np.testing.assert_allclose(uniform.mean(axis=0), 0.5, atol=4 / np.sqrt(12 * 4000))
    moving, centers = (np.asarray(weights.draw_locations(
        jax.random.key(1), "lbm_g", arrivals, sd, -1)) for sd in (0.25, 0.0))
    seeds = arrivals.num_seeds
    assert 0 <= moving[:seeds].min() and moving[:seeds].max() < 1
    np.testing.assert_array_equal(moving[:seeds], centers[:seeds])
    np.testing.assert_array_equal(centers[seeds], [0.5, 0.5])
    steps = np.diff(centers[seeds:], axis=0)
    jumps = weights.center_jumps(arrivals, -1)[seeds:-1]
    np.testing.assert_allclose(steps[~jumps], 0, atol=1e-5)  # rounding of sums of jumps
    # ln(n) / 10 is the variance of each coordinate.
    scaled = steps[jumps] / np.sqrt(np.log(seeds + 1 + np.flatnonzero(jumps))[:, None] / 10)
    assert abs(np.mean(scaled**2) - 1) < 4 * np.sqrt(2 / scaled.size)
    spread = (moving - centers)[seeds:] / 0.25
    assert abs(np.mean(spread**2) - 1) < 4 * np.sqrt(2 / spread.size)
