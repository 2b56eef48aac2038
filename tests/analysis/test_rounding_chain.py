"""Chains of stochastic rounding: their closed forms, their limits, and independent computations."""

import numpy as np
import pytest

from nfnets_jax.analysis import rounding_bounds
from nfnets_jax.analysis import rounding_chain as chain

NORMAL = chain.Gaussian(1.0)
POINTS = np.arange(-2, 4.0)
# The limit on POINTS of 1/2 (w - 0.3)^2 with noise N(0, 1), and the law at alpha = 1.
LIMIT = (.002029, .102677, .517899, .348241, .028957, .000196)
AT_ONE = (.041866, .179367, .354885, .299290, .107364, .017228)


def stationary_at(alpha, points=POINTS, noise=NORMAL, minimizer=0.3):
    return chain.stationary(chain.transition_matrix(points, points - minimizer, alpha, noise))


def moments(law, points):
    mean = law @ points
    return mean, law @ (points - mean) ** 2


def test_transition_probabilities_are_expectations_of_the_rounding():
    matrix = chain.transition_matrix(POINTS, POINTS - 0.3, 0.1, NORMAL)
    np.testing.assert_allclose(matrix[2, 1:4], (.026676, .916648, .056676), atol=5e-7)
    # By midpoints: all mass to one of two neighbours, clipped afterwards.
    nodes = np.linspace(-8, 8, 20001)[:-1] + 4e-4
    weights = np.exp(-0.5 * nodes**2) * 8e-4
    expected = np.zeros((6, 6))
    for i, x in enumerate(POINTS):
        v = x - 0.8 * (x - 0.3 + nodes)
        for place, share in ((np.floor(v), 1 - v % 1), (np.floor(v) + 1, v % 1)):
            np.add.at(expected[i], np.clip(place, -2, 3).astype(int) + 2,
                      share * weights / np.sqrt(2 * np.pi))
    matrix = chain.transition_matrix(POINTS, POINTS - 0.3, 0.8, NORMAL)
    np.testing.assert_allclose(matrix, expected, atol=1e-7)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-14)


def test_without_noise_a_step_is_the_rounding_alone():
    matrix = chain.transition_matrix(np.array([0.0, 0.5, 1.0]), [0.4, 0.0, -3.0], 0.25,
                                     chain.Gaussian(0.0))
    np.testing.assert_allclose(matrix, [[1, 0, 0], [0, 1, 0], [0, 0, 1]], atol=1e-15)
    matrix = chain.transition_matrix(np.array([0.0, 0.5, 1.0]), [-0.4, 0.0, 3.0], 0.25,
                                     chain.Gaussian(0.0))
    np.testing.assert_allclose(matrix, [[.8, .2, 0], [0, 1, 0], [.5, .5, 0]], atol=1e-15)


@pytest.mark.parametrize("alpha, expected", [
    (1.0, AT_ONE), (0.1, LIMIT), (0.01, LIMIT), (0.001, LIMIT)])
def test_the_law_loses_the_learning_rate(alpha, expected):
    np.testing.assert_allclose(stationary_at(alpha), expected, atol=5e-7)


def test_the_limit_is_a_birth_death_chain_in_detailed_balance():
    law = chain.stationary(chain.generator(POINTS, POINTS - 0.3, NORMAL))
    np.testing.assert_allclose(law, LIMIT, atol=5e-7)
    up, down = (NORMAL.positive_part(sign * (POINTS - 0.3)) for sign in (-1, 1))
    np.testing.assert_allclose(law[1:] / law[:-1], up[:-1] / down[1:], rtol=1e-10)


def test_with_bounded_noise_the_matrix_is_that_of_the_limit_exactly():
    coin = chain.Discrete((-1.0, 1.0), (0.5, 0.5))
    rates = chain.generator(POINTS, POINTS - 0.3, coin)
    limit = chain.stationary(rates)
    for alpha in (0.25, 0.1, 0.01, 1e-4):
        matrix = chain.transition_matrix(POINTS, POINTS - 0.3, alpha, coin)
        np.testing.assert_allclose(matrix, np.eye(6) + alpha * rates, atol=1e-14)
        assert chain.total_variation(chain.stationary(matrix), limit) < 1e-11
    # From -1 no noise leads down and from 2 none leads up.
    np.testing.assert_allclose(limit[[0, 5]], 0.0, atol=1e-15)
    assert np.all(limit[1:5] > 0.03)


def test_in_two_dimensions_the_limit_is_approached_at_the_rate_of_alpha():
    points = np.arange(-3, 4.0)
    x = chain.states(points, 2)
    gradient = (x - [0.3, -0.2]) @ np.array([[1.0, 0.5], [0.5, 1.0]])
    limit = chain.stationary(chain.generator(points, gradient, NORMAL))
    slopes = [chain.total_variation(chain.stationary(chain.transition_matrix(
        points, gradient, alpha, NORMAL)), limit) / alpha for alpha in (0.1, 0.01)]
    assert 0.05 < slopes[1] < slopes[0] < 1.1 * slopes[1]
    # Without the correlation the coordinates are independent chains.
    apart = chain.transition_matrix(points, x - [0.3, -0.2], 0.3, NORMAL)
    one, two = (chain.transition_matrix(points, points - m, 0.3, NORMAL) for m in (0.3, -0.2))
    np.testing.assert_allclose(apart, np.kron(one, two), atol=1e-15)


@pytest.mark.parametrize("delta, variance, closure", [
    (1.0, .486648, .486379), (0.5, .220366, .220355), (0.25, .104834, .104833)])
def test_quadratic_has_its_mean_its_gap_and_a_variance_of_the_order_of_delta(
        delta, variance, closure):
    points = np.arange(-12, 13) * delta
    law = stationary_at(0.01, points)
    mean, measured = moments(law, points)
    np.testing.assert_allclose([mean, measured], [0.3, variance], atol=5e-7)
    absolute = law @ (2 * NORMAL.positive_part(points - 0.3) - (points - 0.3))
    np.testing.assert_allclose(measured, delta * absolute / 2, rtol=1e-9)
    np.testing.assert_allclose(chain.rounding_variance(delta, 1.0, 1.0), closure, atol=5e-7)
    for alpha in (0.3, 0.01):
        matrix = chain.transition_matrix(points, points - 0.3, alpha, NORMAL)
        np.testing.assert_allclose(chain.spectral_gap(matrix), alpha, rtol=1e-7)


def test_variance_falls_as_the_inverse_root_of_the_batch():
    points = np.arange(-16, 17) * 0.25
    found = [moments(chain.stationary(chain.generator(
        points, points - 0.3, chain.Gaussian(batch**-0.5))), points)[1] for batch in (1, 4, 16, 64)]
    np.testing.assert_allclose(found, (.10483, .05509, .03041, .01829), atol=5e-6)


def test_binary_weights_are_a_grid_of_two_points():
    points = np.array([-1.0, 1.0])
    for alpha, expected in ((0.1, .614843), (0.01, .614843), (1.0, .601324)):
        np.testing.assert_allclose(stationary_at(alpha, points)[1], expected, atol=5e-7)
    # The hard sigmoid of v, at v = 1 - alpha 0.7 and v = -1 + alpha 1.3.
    matrix = chain.transition_matrix(points, points - 0.3, 0.5, chain.Gaussian(0.0))
    np.testing.assert_allclose(matrix, [[.675, .325], [.175, .825]], atol=1e-15)


# Of figure 2, on -5, -4.5, ..., 10.
WELLS_POINTS = np.arange(-10, 21) / 2
WELLS = np.where(WELLS_POINTS < 1, 0, np.where(WELLS_POINTS < 3.5, 1, 2))
WELLS_GRADIENT = 2 * (WELLS_POINTS - np.array([0.0, 2.5, 4.75])[WELLS])
WELLS_LOSS = WELLS_GRADIENT**2 / 4 + np.array([2.0, 0.75, 0.19])[WELLS]


@pytest.mark.parametrize("std, alpha, loss, at_bottom, distance", [
    (2, 1, 2.6057, .1261, .715), (2, .1, .4210, .7210, 6.4e-3), (2, .01, .415646, .7274, 0),
    (2, None, .415646, .7274, 0), (1, None, .311739, .884221, 0), (4, None, .634823, .519059, 0)])
def test_wells_have_their_losses_until_the_learning_rate_is_lost(
        std, alpha, loss, at_bottom, distance):
    noise = chain.Gaussian(std)
    limit = law = chain.stationary(chain.generator(WELLS_POINTS, WELLS_GRADIENT, noise))
    if alpha is not None:
        law = chain.stationary(
            chain.transition_matrix(WELLS_POINTS, WELLS_GRADIENT, alpha, noise))
    np.testing.assert_allclose(law @ WELLS_LOSS, loss, atol=1e-6 if alpha in (None, .01) else 5e-5)
    np.testing.assert_allclose(law[np.isin(WELLS_POINTS, [4.5, 5])].sum(), at_bottom,
                               atol=5e-5 if std == 2 else 1e-6)
    np.testing.assert_allclose(chain.total_variation(law, limit), distance,
                               rtol=2e-3, atol=1e-10)


def test_three_states_with_halved_rates_mix_half_as_fast():
    slow = np.array([[.9, .1, 0], [.2, .5, .3], [0, .1, .9]])
    fast = np.eye(3) + 2 * (slow - np.eye(3))
    law = np.array([0.4, 0.2, 0.4 * 1.5]) / 1.2
    for matrix in (slow, fast):
        np.testing.assert_allclose(chain.stationary(matrix), law, rtol=1e-12)
    for matrix, eps in ((slow, 0.01), (fast, 0.01), (slow, 0.25)):
        steps, power = 0, np.eye(3)
        while 0.5 * np.abs(power - law).sum(axis=1).max() > eps:
            steps, power = steps + 1, power @ matrix
        assert chain.mixing_time(matrix, eps) == steps > 3
    assert chain.mixing_time(slow, 1e-6) / chain.mixing_time(fast, 1e-6) > 1.9
    with pytest.raises(ValueError, match="eps=0.25 of its stationary law"):
        chain.mixing_time(np.array([[0.0, 1.0], [1.0, 0.0]]))


def test_mixing_time_is_that_of_the_learning_rate():
    times = [chain.mixing_time(chain.transition_matrix(POINTS, POINTS - 0.3, alpha, NORMAL))
             for alpha in (0.1, 0.01, 0.001)]
    np.testing.assert_allclose(np.divide(times[1:], times[:-1]), 10, rtol=0.01)


def test_what_is_no_chain_of_this_kind_is_refused():
    with pytest.raises(ValueError, match="2 stationary laws"):
        chain.stationary(np.eye(2))
    with pytest.raises(ValueError, match="ascend in equal steps"):
        chain.generator(np.array([0.0, 1.0, 3.0]), np.zeros(3), NORMAL)
    with pytest.raises(ValueError, match=r"shape \(3, 1\); for 6 points"):
        chain.generator(POINTS, np.zeros(3), NORMAL)


def binary_connect(alphas, gradient, delta, sigma, rng, chains=4000, start=0.0):
    """Float64 numpy: the full-precision weights [steps, chains], stochastic rounding."""
    w, path = np.full(chains, start), []
    for alpha in alphas:
        q = w / delta
        rounded = delta * (np.floor(q) + (rng.random(chains) < q % 1))
        w = np.clip(w - alpha * (gradient(rounded) + sigma * rng.normal(size=chains)), -1.5, 1.5)
        path.append(w)
    return np.array(path)


@pytest.mark.parametrize("alpha, expected", [(0.3, .2059), (0.1, .0618), (0.03, .0182)])
def test_variance_of_binary_connect_goes_to_zero(alpha, expected):
    predicted = chain.binary_connect_variance(alpha, 1.0, 1.0, 1.0, 0.3)
    np.testing.assert_allclose(predicted, expected, atol=1.5e-4)
    if alpha == 0.1:
        path = binary_connect([alpha] * 150, lambda x: x - 0.3, 1.0, 1.0, np.random.default_rng(0))
        np.testing.assert_allclose(path[50:].var(), predicted, rtol=0.03)
        np.testing.assert_allclose(path[50:].mean(), 0.3, atol=0.01)


def test_strongly_convex_bound_of_stochastic_rounding_holds_with_its_floor():
    for delta in (1.0, 0.25):
        points = np.arange(-round(2 / delta), round(2 / delta) + 1) * delta
        loss = 0.5 * (points - 0.3) ** 2
        norm = np.sqrt(np.max((points - 0.3) ** 2) + 1.0)
        law, losses = np.where(points == 0.0, 1.0, 0.0), []
        for t in range(400):
            law = law @ chain.transition_matrix(points, points - 0.3, 1 / (t + 2), NORMAL)
            losses.append(law @ loss)
        bounds = [rounding_bounds.strongly_convex(
            T, gradient_norm=norm, strong_convexity=1.0, dimensions=1, delta=delta)
            for T in range(1, 401)]
        assert np.all(np.cumsum(losses) / np.arange(1, 401) < bounds)
        # A floor there is: half the variance of the stationary law.
        assert losses[-1] > 0.9 * chain.rounding_variance(delta, 1.0, 1.0) / 2
        np.testing.assert_allclose(
            bounds[-1] - rounding_bounds.strongly_convex(
                400, gradient_norm=norm, strong_convexity=1.0, dimensions=1, delta=0.0),
            delta * norm / 2)


def test_bounds_of_binary_connect_and_of_rounding_errors_hold():
    """F = w^2 / 2 + log cosh(2 (w - 0.3)), mu = 1, L = 5, |F'''| <= 16 / 3^1.5."""
    rng, delta, sigma = np.random.default_rng(1), 0.5, 0.3

    def gradient(w):
        return w + 2 * np.tanh(2 * (w - 0.3))

    def value(w):
        return 0.5 * w**2 + np.log(np.cosh(2 * (w - 0.3)))

    grid = np.linspace(-1.5, 1.5, 30001)
    lowest, norm = value(grid).min(), np.sqrt(np.max(gradient(grid) ** 2) + sigma**2)
    shared = dict(gradient_norm=norm, diameter=3.0, dimensions=1, delta=delta)
    t = np.arange(1, 301)
    path = binary_connect(1 / (t + 1), gradient, delta, sigma, rng, start=-1.0)
    excess = value(path).mean() - lowest
    bound = rounding_bounds.binary_connect_strongly_convex(
        300, strong_convexity=1.0, hessian_lipschitz=16 / 3**1.5, **shared)
    floor = 3.0 * 16 / 3**1.5 * delta**2 / 8
    assert excess < bound and value(path[-1]).mean() - lowest < floor < bound
    path = binary_connect(0.2 / np.sqrt(t), gradient, delta, sigma, rng, start=-1.0)
    bound = rounding_bounds.binary_connect_convex(300, scale=0.2, smoothness=5.0, **shared)
    assert value(path).mean() - lowest < bound
    # One step from the grid, exactly and bounded.
    u = -0.1 * rng.normal(size=(2000, 5))
    exact = np.sum(np.abs(u) * (delta - np.abs(u)), axis=1)
    up = (u / delta) % 1
    variance = delta**2 * np.sum(up * (1 - up), axis=1)
    np.testing.assert_allclose(variance, exact, rtol=1e-9)
    norm = np.sqrt(np.mean(np.sum((u / 0.1) ** 2, axis=1)))
    assert exact.mean() < rounding_bounds.rounding_error(0.1, norm, 5, delta)
    # Convex bounds differ in their floors alone.
    floors = [rounding_bounds.convex(n, scale=0.2, **shared) - rounding_bounds.convex(
        n, scale=0.2, **{**shared, "delta": 0.0}) for n in (10, 1000)]
    np.testing.assert_allclose(floors, delta * shared["gradient_norm"] / 2)
