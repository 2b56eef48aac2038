"""Simulated populations beside the exact chains; tolerances are four standard errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.games import chains, events, mean_field, payoffs

REPLICAS = 20_000
RINGS = 8_000
# Bits of the other generator cost less in the tests' unoptimised programs.
KEY = jax.random.key(20170508, impl="rbg")
FIXED = np.array([[0, 0], [1, 1.0]])  # payoffs that do not depend on the other, a unit apart


def game(c):
    return payoffs.coordination_matrix(.4, .6, c)


def from_one(matrix):
    """20 000 populations of 20 from one B until one norm is left, at s = 1."""
    chain = chains.imitation_chain(matrix, 20, 1.0)
    return on_the_host(events.well_mixed_until(
        KEY, chain, initial=1, lower=0, upper=20, max_events=10**5, num_replicas=REPLICAS))


def on_the_host(stopped):
    return events.Stopped(*map(np.asarray, stopped))


def mean_and_tolerance(samples):
    return np.mean(samples), 4 * np.std(samples) / np.sqrt(len(samples))


@pytest.mark.parametrize("build, share, expected, tolerance, time", [
    ("coordination", 0, .184651, .011, 177.029877),
    ("coordination", .5, .069993, .0072, 105.317326),
    ("coordination", 1, .019884, .0040, 65.713356),
    ("utility", .2, .088316, .0080, None), ("utility", .5, .020730, .0040, None),
    ("utility", 1, .001121, .0010, None)])
def test_fixation_of_one_player(build, share, expected, tolerance, time):
    stopped = from_one(getattr(payoffs, f"{build}_matrix")(.4, .6, share))
    assert set(np.unique(stopped.counts)) == {0, 20}
    assert np.mean(stopped.counts == 20) == pytest.approx(expected, abs=tolerance)
    if time:
        mean, tolerance = mean_and_tolerance(stopped.events)
        assert mean == pytest.approx(time, abs=tolerance)


@pytest.mark.parametrize("c, expected", [(0, .55071), (.5, .31128), (1, .13080)])
def test_fixation_on_a_ring(c, expected):
    norms = np.zeros((RINGS, 12), np.int8)
    norms[:, 5] = 1
    stopped = on_the_host(events.ring_until_absorbed(KEY, game(c), 2.0, norms, 10**5))
    assert set(np.unique(stopped.counts)) == {0, 12}
    error = np.sqrt(expected * (1 - expected) / RINGS)
    assert np.mean(stopped.counts == 12) == pytest.approx(expected, abs=4 * error)


def test_ring_events_move_borders_at_their_rates():
    """After one event, from a block of one, of five and of eleven of 12, two at the seam."""
    norms = np.zeros((3, RINGS, 12), np.int8)
    norms[0, :, 0], norms[1][:, [10, 11, 0, 1, 2]], norms[2, :, 1:] = 1, 1, 1
    differences = chains.ring_differences(game(.5), 12)
    for block, length in zip(norms, (1, 5, 11), strict=True):
        stopped = on_the_host(events.ring_until_absorbed(KEY, game(.5), 2.0, block, 1))
        for change, sign in ((1, 1), (-1, -1)):
            rate = 1 / 12 / (1 + np.exp(-sign * 2 * differences[length - 1]))
            assert np.mean(stopped.counts == length + change) == pytest.approx(
                rate, abs=4 * np.sqrt(rate / RINGS))
        assert np.all(stopped.events == 1)


def test_the_time_until_half_of_the_players_have_the_better_norm():
    chain = chains.imitation_chain(game(.5), 10, 1.0, .05)
    stopped = on_the_host(events.well_mixed_until(
        KEY, chain, initial=0, lower=-1, upper=5, max_events=10**5, num_replicas=REPLICAS))
    assert np.all(stopped.counts == 5)
    mean, tolerance = mean_and_tolerance(stopped.events)
    assert mean == pytest.approx(chains.hitting_times(chain)[5], abs=tolerance)


def test_in_the_long_run_the_law_is_stationary():
    chain = chains.imitation_chain(game(.5), 10, 1.0, .1)
    counts = np.asarray(events.well_mixed_counts(
        KEY, chain, initial=0, num_replicas=REPLICAS, num_generations=60))
    assert np.all(counts[0] == 0)
    law = np.linalg.matrix_power(chains.transition_matrix(chain), 30)[0]
    for generation, expected in ((3, law), (60, chains.stationary(chain))):
        found = np.bincount(counts[generation], minlength=11) / REPLICAS
        np.testing.assert_array_less(
            np.abs(found - expected), 4 * np.sqrt(expected / REPLICAS) + 1e-4)


def test_max_events_stops_all_and_events_are_counted():
    chain = chains.imitation_chain(game(0), 20, 1.0)
    stopped = on_the_host(events.well_mixed_until(
        KEY, chain, initial=10, lower=0, upper=20, max_events=3, num_replicas=REPLICAS))
    assert np.all(stopped.events == 3) and np.ptp(stopped.counts) == 6


def test_the_tipping_point_of_a_large_population():
    """Synchronous, four models, k = 0.6, s = 5, N = 1e5: p* = .297929, from .03 to either side."""
    size, k = 10**5, .6
    chain = chains.conformity_chain(FIXED, size, 5.0, k, 4)
    flow = mean_field.conformist_flow(k, mean_field.fermi_advantage(5), 4)
    for start, end in ((.268, 0), (.328, 1)):
        shares = events.synchronous_counts(3, chain, initial=round(start * size), num_replicas=10,
                                           num_generations=60) / size
        np.testing.assert_array_equal(shares[-1], end)
        # Each generation is the map of the one before, up to the noise of at most N / 4 coins.
        np.testing.assert_allclose(shares[1:], shares[:-1] + flow(shares[:-1]),
                                   atol=5 * 0.5 / np.sqrt(size))


def test_synchronous_generations_have_the_moments_of_two_binomials():
    size, start = 50, 20
    chain = chains.imitation_chain(game(.5), size, 3.0, .1)
    counts = events.synchronous_counts(1, chain, initial=start, num_replicas=REPLICAS,
                                       num_generations=1)[1]
    up, down = size * chain.up[start], size * chain.down[start]
    variance = up * (1 - up / (size - start)) + down * (1 - down / start)
    assert np.mean(counts) == pytest.approx(start + up - down, abs=4 * np.sqrt(variance / REPLICAS))
    assert np.var(counts) == pytest.approx(variance, rel=4 * np.sqrt(2 / REPLICAS))


def test_what_is_refused():
    chain = chains.imitation_chain(game(0), 20, 1.0)
    with pytest.raises(ValueError, match="initial=20: must be above lower=0 and below upper=20"):
        events.well_mixed_until(KEY, chain, initial=20, lower=0, upper=20, max_events=3,
                                num_replicas=1)
    with pytest.raises(ValueError, match="initial=21: must be between 0 and the 20 players"):
        events.well_mixed_counts(KEY, chain, initial=21, num_replicas=1, num_generations=1)
    with pytest.raises(ValueError, match="norms of 2 players: a ring has at least 3"):
        events.ring_until_absorbed(KEY, game(0), 1.0, jnp.zeros((1, 2), jnp.int8), 1)
