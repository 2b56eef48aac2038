"""Evolving exploration rates against a literal loop."""

import functools

import jax
import numpy as np
import pytest

from nfnets_jax.games import exploration, graphs, imitation
from nfnets_jax.games.payoffs import coordination_matrix
from tests.games import sequential

TORUS = graphs.torus(16, 16)


@functools.partial(jax.jit, static_argnames="teacher_payoff")
def run(key, norms, rates, c, strength, redraw, teacher_payoff):
    return exploration.explore(
        key, norms, rates, TORUS, coordination_matrix(0.4, 0.6, c), selection_strength=strength,
        redraw_probability=redraw, teacher_payoff=teacher_payoff)


@pytest.mark.parametrize("teacher_payoff", imitation.TEACHER_PAYOFFS)
def test_a_pass_is_that_of_the_sequential_loop(teacher_payoff):
    random = np.random.default_rng(0)
    for seed in range(20):
        c, redraw, strength = random.random(), 0.3 * random.random(), 8 * random.random()
        key = jax.random.key(seed)
        norms = random.integers(0, 2, (1, 256)).astype(np.int8)
        rates = random.integers(0, len(exploration.RATES), (1, 256)).astype(np.int8)
        got = run(key, norms, rates, c, strength, redraw, teacher_payoff)
        expected = sequential.explore(
            sequential.draw(key, 1, 256, 2)[0], norms[0], rates[0], TORUS,
            coordination_matrix(0.4, 0.6, c), strength, redraw, teacher_payoff)
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one[0], other)


def test_all_rates_are_drawn_equally_often():
    rates = np.asarray(exploration.random_rates(jax.random.key(0), 20, 3000))
    counts = np.bincount(rates.reshape(-1), minlength=6)
    assert len(counts) == 6 and np.abs(counts - 10000).max() < 5 * np.sqrt(60000 * 5 / 36)
    np.testing.assert_array_equal(exploration.random_rates(jax.random.key(0), 2, 3000), rates[:2])
