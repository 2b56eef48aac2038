"""RMSProp, ADAM and NAG against the recursions of arXiv 1807.06766 in float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nfnets_jax import optim

STEPS = 50
XIS = np.array([1e-8, 1e-3, 0.1])
GRADIENTS = np.random.default_rng(0).normal(size=(STEPS, 6)) * 10.0 ** np.arange(-4, 2)


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def moves(create, gradients=GRADIENTS):
    """The updates [xis, steps, d] of an optimizer, built anew in each step with a traced xi."""
    def run(xi):
        def step(state, gradient):
            updates, state = create(xi).update(gradient, state)
            return state, updates

        return jax.lax.scan(step, create(xi).init(gradients[0]), gradients)[1]

    return np.asarray(jax.jit(jax.vmap(run))(jnp.asarray(XIS)))


def nag(alpha, mu):
    v = 0.0
    for g in GRADIENTS:
        v = mu * v + g
        yield -alpha * (g + mu * v)


def rmsprop(alpha, beta2, xi):
    v = 0.0
    for g in GRADIENTS:
        v = beta2 * v + (1 - beta2) * (g**2 + xi)
        yield -alpha * g / np.sqrt(v)


def adam(alpha, beta1, beta2, xi, bias_terms):
    m = v = 0.0
    for t, g in enumerate(GRADIENTS, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        alpha_t = alpha * np.sqrt(1 - beta2**t) / (1 - beta1**t) if bias_terms else alpha
        yield -alpha_t * m / (np.sqrt(v) + xi)


def distances(got, recursion):
    """The largest difference for each xi."""
    expected = np.array([list(recursion(xi)) for xi in XIS])
    return np.max(np.abs(got - expected), axis=(1, 2))


def test_nag():
    got = moves(lambda xi: optim.nag(0.1, momentum=0.9))
    assert np.max(distances(got, lambda xi: nag(0.1, 0.9))) < 1e-12


def test_rmsprop_and_what_optax_would_do_with_the_same_numbers():
    ours = moves(lambda xi: optim.rmsprop_xi(0.1, beta2=0.9, xi=xi))
    assert np.max(distances(ours, lambda xi: rmsprop(0.1, 0.9, xi))) < 1e-12
    other = moves(lambda xi: optax.rmsprop(0.1, decay=0.9, eps=xi))
    assert np.min(distances(other, lambda xi: rmsprop(0.1, 0.9, xi))[1:]) > 1e-4


@pytest.mark.parametrize("bias_terms", [True, False])
def test_adam_and_what_optax_would_do_with_the_same_numbers(bias_terms):
    ours = moves(lambda xi: optim.adam_xi(
        0.1, beta1=0.9, beta2=0.999, xi=xi, bias_terms=bias_terms))
    assert np.max(distances(ours, lambda xi: adam(0.1, 0.9, 0.999, xi, bias_terms))) < 1e-12
    if bias_terms:
        other = moves(lambda xi: optax.adam(0.1, b1=0.9, b2=0.999, eps=xi))
        assert np.min(distances(other, lambda xi: adam(0.1, 0.9, 0.999, xi, True))[1:]) > 1e-4


def test_a_constant_gradient():
    gradients = np.tile([0.3, -2.0], (3, 1))
    steps = moves(lambda xi: optim.rmsprop_xi(0.1, beta2=0.9, xi=xi), gradients)
    t = np.arange(1, 4)[:, None]
    np.testing.assert_allclose(
        steps, -0.1 * gradients / np.sqrt((1 - 0.9**t) * (gradients**2 + XIS[:, None, None])),
        rtol=1e-12)
    for bias_terms, lengths in ((False, [0.0316228, 0.0424959, 0.0495024]), (True, [0.01] * 3)):
        steps = moves(lambda xi, bias_terms=bias_terms: optim.adam_xi(
            0.01, beta1=0.9, beta2=0.999, xi=0.0 * xi, bias_terms=bias_terms), gradients)
        np.testing.assert_allclose(
            steps[0], -np.sign(gradients) * np.array(lengths)[:, None], rtol=2e-6)


def test_without_xi_adam_without_beta1_is_rmsprop_and_the_loss_has_no_scale():
    def adam_of(gradients):
        return moves(lambda xi: optim.adam_xi(
            0.1, beta1=0.0, beta2=0.99, xi=0.0 * xi, bias_terms=False), gradients)[0]

    def rmsprop_of(gradients, xi=0.0):
        return moves(lambda _: optim.rmsprop_xi(0.1, beta2=0.99, xi=xi), gradients)[0]

    # A coordinate that never had a gradient is left alone, one that has lost it stops.
    gradients = GRADIENTS * (np.arange(6) > 0)
    gradients[10:, 1] = 0.0
    steps = adam_of(gradients)
    np.testing.assert_allclose(steps, rmsprop_of(gradients), rtol=1e-12)
    np.testing.assert_allclose(steps, rmsprop_of(1e3 * gradients), rtol=1e-12)
    assert np.all(steps[:, 0] == 0) and np.all(steps[10:, 1] == 0) and np.all(steps[:10, 1] != 0)
    assert np.max(np.abs(rmsprop_of(1e3 * gradients, 1e-3) - rmsprop_of(gradients, 1e-3))) > 1e-2


def test_with_a_huge_xi_they_are_gradient_descent_and_heavy_ball():
    t = np.arange(1, STEPS + 1)[:, None]
    xi = 1e12
    rms = moves(lambda _: optim.rmsprop_xi(np.sqrt(xi), beta2=0.9, xi=xi))[0]
    np.testing.assert_allclose(rms * np.sqrt(1 - 0.9**t), -GRADIENTS, rtol=1e-6)
    adam_moves = moves(lambda _: optim.adam_xi(
        xi, beta1=0.9, beta2=0.99, xi=xi, bias_terms=False))[0]
    average, averages = 0.0, []
    for gradient in GRADIENTS:
        average = 0.9 * average + 0.1 * gradient
        averages.append(average)
    np.testing.assert_allclose(adam_moves, -np.array(averages), rtol=1e-6)


def on_a_quadratic(create, curvatures):
    """The positions [curvatures, 2000] on lambda x^2 / 2 from 1."""
    def run(curvature):
        def step(carry, _):
            x, state = carry
            updates, state = create().update(curvature * x, state)
            return (x + updates, state), x

        start = jnp.asarray(1.0)
        return jax.lax.scan(step, (start, create().init(start)), length=2000)[1]

    return np.asarray(jax.jit(jax.vmap(run))(jnp.asarray(curvatures)))


def test_nag_on_a_quadratic():
    """Its two-step recursion, the look-ahead form, and the border 2 (1 + mu) / (1 + 2 mu)."""
    mu = 0.9
    curvatures = np.array([0.99, 1.01]) * 2 * (1 + mu) / (1 + 2 * mu)
    x = on_a_quadratic(lambda: optim.nag(1.0, momentum=mu), curvatures)
    np.testing.assert_allclose(
        x[:, 2:], (1 - curvatures[:, None]) * ((1 + mu) * x[:, 1:-1] - mu * x[:, :-2]), rtol=1e-9,
        atol=1e-12)
    assert abs(x[0, -1]) < 1e-3 and abs(x[1, -1]) > 1e3
    theta, velocity = 1.0, 0.0  # Sutskever et al. (2013): the gradient is read where v would lead
    for t in range(20):
        assert theta + mu * velocity == pytest.approx(x[0, t], abs=1e-12)
        velocity = mu * velocity - curvatures[0] * (theta + mu * velocity)
        theta = theta + velocity


@pytest.mark.parametrize("beta1", [0.9, 0.99])
def test_an_averaged_gradient_allows_steps_in_proportion_to_its_time(beta1):
    """At a fixed denominator ADAM is stable below alpha lambda = 2 (1 + beta1) / (1 - beta1)."""
    curvatures = np.array([0.98, 1.02]) * 2 * (1 + beta1) / (1 - beta1)
    x = on_a_quadratic(lambda: optim.adam_xi(
        1e12, beta1=beta1, beta2=0.5, xi=1e12, bias_terms=False), curvatures)
    assert abs(x[0, -1]) < 1e-3 and not abs(x[1, -1]) < 1e3


def test_nag_without_momentum_is_gradient_descent_and_scales_with_the_loss():
    def moves_of(alpha, momentum, scale):
        return moves(lambda _: optim.nag(alpha, momentum=momentum), scale * GRADIENTS)[0]

    np.testing.assert_allclose(moves_of(0.1, 0.0, 1.0), -0.1 * GRADIENTS, rtol=1e-15)
    np.testing.assert_array_equal(moves_of(0.1, 0.9, 1.0), moves_of(0.025, 0.9, 4.0))


def test_nan_gradients_are_not_hidden():
    gradients = np.array([[1.0, np.nan], [1.0, 1.0]])
    for create in (lambda xi: optim.rmsprop_xi(0.1, beta2=0.9, xi=xi),
                   lambda xi: optim.adam_xi(0.1, beta1=0.9, beta2=0.9, xi=xi)):
        steps = moves(create, gradients)
        assert np.all(np.isnan(steps[..., 1])) and np.all(np.isfinite(steps[..., 0]))
