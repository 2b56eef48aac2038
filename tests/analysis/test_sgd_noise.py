"""The closed forms of SGD on a quadratic against the recursions they are said to solve."""

import itertools

import numpy as np
import pytest

from nfnets_jax.analysis import sgd_noise


def second_moments(h, c, eps, m, batch_size, steps, theta=0.0):
    """Float64 numpy: E[x x'] of x = (theta, v), written out entry by entry."""
    tt, tv, vv = theta**2, 0.0, 0.0
    for _ in range(steps):
        # v' = m v + h theta + noise;  theta' = theta - eps v'
        new_vv = m * m * vv + 2 * m * h * tv + h * h * tt + c / batch_size
        theta_new_v = m * tv + h * tt  # E[theta v']
        tt, tv, vv = (tt - 2 * eps * theta_new_v + eps * eps * new_vv,
                      theta_new_v - eps * new_vv, new_vv)
    return np.array([[tt, tv], [tv, vv]])


@pytest.mark.parametrize("m", [0.0, 0.5, 0.9])
def test_stationary_variance_is_where_the_recursion_ends(m):
    h, c, batch_size = 0.7, 1.3, 8
    for fraction in (0.01, 0.3, 0.9):
        eps = fraction * sgd_noise.critical_learning_rate(h, m)
        end = second_moments(h, c, eps, m, batch_size, 20000)[0, 0]
        np.testing.assert_allclose(
            sgd_noise.stationary_variance(h, c, eps, m, batch_size), end, rtol=1e-10)


@pytest.mark.parametrize("m", [0.0, 0.5, 0.9])
def test_recursion_is_stable_up_to_the_critical_learning_rate(m):
    h = 0.7
    for fraction, is_stable in ((0.999, True), (1.001, False)):
        matrix, _ = sgd_noise.heavy_ball(h, fraction * sgd_noise.critical_learning_rate(h, m), m)
        radius = np.max(np.abs(np.linalg.eigvals(np.asarray(matrix, float))))
        assert (radius < 1) == is_stable and abs(radius - 1) > 1e-4


def test_matrix_and_vector_are_one_step_of_momentum():
    h, eps, m, theta, v, kick = 0.7, 0.3, 0.9, 1.2, -0.4, 0.05
    matrix, vector = sgd_noise.heavy_ball(h, eps, m)
    new_v = m * v + h * theta + kick
    np.testing.assert_allclose(matrix @ np.array([theta, v]) + kick * vector,
                               [theta - eps * new_v, new_v], rtol=1e-6)


@pytest.mark.parametrize("m", [0.0, 0.9])
def test_small_steps_are_diffusion_at_the_temperature(m):
    h, c, batch_size, eps = 0.7, 1.3, 8, 1e-5
    t = sgd_noise.temperature(eps, m, batch_size)
    np.testing.assert_allclose(t, eps / batch_size * (1 if m == 0 else 10))
    np.testing.assert_allclose(sgd_noise.diffusion_variance(h, c, t),
                               sgd_noise.stationary_variance(h, c, eps, m, batch_size), rtol=1e-5)


@pytest.mark.parametrize("batch_size", range(1, 7))
def test_covariance_of_batches_by_enumeration(batch_size):
    gradients = np.random.default_rng(0).normal(size=(6, 3))
    means = [np.mean(gradients[list(ids)], axis=0)
             for ids in itertools.combinations(range(6), batch_size)]
    covariance = sgd_noise.batch_mean_covariance(
        np.cov(gradients.T, bias=True), num_examples=6, batch_size=batch_size)
    np.testing.assert_allclose(covariance, np.cov(np.array(means).T, bias=True)
                               if len(means) > 1 else np.zeros((3, 3)), atol=1e-15)
