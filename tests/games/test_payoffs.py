"""Payoff matrices, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.games import payoffs


@pytest.mark.parametrize("c", [0.0, 0.3, 1.0])
def test_need_for_coordination_mixes_fixed_payoffs_with_pure_coordination(c):
    fixed, coordination = [[.4, .4], [.6, .6]], [[.4, 0], [0, .6]]
    np.testing.assert_allclose(
        payoffs.coordination_matrix(.4, .6, c),
        (1 - c) * np.array(fixed) + c * np.array(coordination), atol=1e-15)


def test_meeting_the_other_norm_scales_ones_own_payoff():
    np.testing.assert_allclose(payoffs.coordination_matrix(.3, .7, .25), [[.3, .225], [.525, .7]],
                               atol=1e-15)
    np.testing.assert_allclose(payoffs.utility_matrix(.3, .7, .25), [[.475, .225], [.525, .775]],
                               atol=1e-15)


def test_the_utility_rewards_the_share_of_ones_own_norm():
    k, p = 0.4, 0.35
    utility_a, utility_b = payoffs.utility_matrix(.4, .6, k) @ [1 - p, p]
    assert utility_b == pytest.approx((1 - k) * .6 + k * p, abs=1e-15)
    assert utility_a == pytest.approx((1 - k) * .4 + k * (1 - p), abs=1e-15)


def test_traced_values_give_the_same_matrix():
    for build in (payoffs.coordination_matrix, payoffs.utility_matrix):
        traced = jax.jit(build)(jnp.float32(.3), jnp.float32(.7), jnp.float32(.25))
        np.testing.assert_allclose(traced, build(.3, .7, .25), rtol=1e-6)


@pytest.mark.parametrize("share", [-0.1, 1.5, np.nan, jnp.float32(2)])
def test_shares_outside_the_unit_interval_are_refused(share):
    with pytest.raises(ValueError, match=r"need_for_coordination=\S+: must be between 0 and 1"):
        payoffs.coordination_matrix(.4, .6, share)
    with pytest.raises(ValueError, match=r"conformity=\S+: must be between 0 and 1"):
        payoffs.utility_matrix(.4, .6, share)


def test_payoffs_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="b=inf: a payoff must be a finite number"):
        payoffs.coordination_matrix(.4, np.inf, .5)
