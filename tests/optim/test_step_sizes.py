"""The theorems of arXiv 1807.06766 on a function all of whose constants are known, in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import optim
from nfnets_jax.optim import step_sizes

START = np.array([1.5, -2.0, 0.7, 3.0])
SMOOTHNESS, SLOPE = 2.0, 3 * math.sqrt(3) / 8  # of x^2 / (1 + x^2), at 0 and at 1 / sqrt(3)
SIGMA = SLOPE * math.sqrt(len(START))


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def value(x):
    return jnp.sum(x**2 / (1 + x**2))


GAP = float(np.sum(START**2 / (1 + START**2)))
CONSTANTS = dict(smoothness=SMOOTHNESS, gradient_bound=SIGMA, gap=GAP)


def descend(optimizer, eps, least, max_steps):
    """The first t with |grad f(x_t)| <= eps, and the smallest decrease of a step over `least`.

    Args:
      optimizer: of the full gradient.
      eps: see above.
      least: of the squared norm of the gradient.
      max_steps: t goes no further.
    """
    def squared_norm(x):
        return jnp.sum(jax.grad(value)(x) ** 2)

    def go_on(carry):
        x, _, t, _ = carry
        return (squared_norm(x) > eps**2) & (t <= max_steps)

    def step(carry):
        x, state, t, smallest = carry
        updates, state = optimizer.update(jax.grad(value)(x), state)
        ratio = (value(x) - value(x + updates)) / least(squared_norm(x))
        return x + updates, state, t + 1, jnp.minimum(smallest, ratio)

    x = jnp.asarray(START)
    _, _, t, smallest = jax.lax.while_loop(
        go_on, step, (x, optimizer.init(x), jnp.asarray(1), jnp.inf))
    return t, smallest


def test_the_constants_of_the_function():
    x = np.linspace(-4, 4, 100_001)
    slope, curvature = 2 * x / (1 + x**2) ** 2, (2 - 6 * x**2) / (1 + x**2) ** 3
    assert np.max(np.abs(slope)) == pytest.approx(SLOPE, rel=1e-8)
    assert np.max(np.abs(curvature)) == SMOOTHNESS
    np.testing.assert_allclose(jax.grad(value)(jnp.asarray(x)), slope, atol=1e-12)


def test_rmsprop_with_the_full_gradient():
    eps = 0.01
    cases = [(xi, beta2) for xi in (1.0, 0.1, 0.01) for beta2 in (0.9, 0.99)]
    guarantees = [step_sizes.deterministic_rmsprop(**CONSTANTS, beta2=beta2, xi=xi, eps=eps)
                  for xi, beta2 in cases]
    bounds = np.array([guarantee.max_steps for guarantee in guarantees])

    def run(xi, beta2, alpha, bound):
        decrease = alpha / (2 * jnp.sqrt(SIGMA**2 + xi))
        return descend(optim.rmsprop_xi(alpha, beta2=beta2, xi=xi), eps,
                       lambda squared: decrease * squared, bound)

    steps, smallest = jax.jit(jax.vmap(run))(
        *np.transpose(cases), np.array([guarantee.step_size for guarantee in guarantees]), bounds)
    assert steps[0] == 590
    assert np.all(steps / bounds < 2.05e-4)
    assert np.min(smallest) == pytest.approx(2.76, abs=0.01)


def test_rmsprop_with_the_full_gradient_and_no_xi():
    guarantee = step_sizes.deterministic_rmsprop_without_xi(
        smoothness=SMOOTHNESS, gradient_bound=SIGMA, value_range=float(len(START)),
        dimension=len(START), beta2=0.9, eps=0.1)
    # 4 sigma^2 L d (B_u - B_l) / ((1 - beta2) eps^4) with sigma^2 = 27 / 16
    assert guarantee.max_steps == pytest.approx(4 * 27 / 16 * 2 * 4 * 4 / (0.1 * 1e-4), rel=1e-12)
    assert guarantee.step_size(4) == pytest.approx(math.sqrt(0.1 * 4 / 8) / 2, rel=1e-12)
    optimizer = optim.with_step_size(optim.rmsprop_xi(1.0, beta2=0.9, xi=0.0),
                                     lambda _, t: guarantee.step_size(t))
    steps, _ = jax.jit(lambda: descend(optimizer, 0.1, jnp.ones_like, guarantee.max_steps))()
    assert 0 < steps < 1e-4 * guarantee.max_steps


@pytest.mark.parametrize("recalled, expected", [(True, {0.3: 2009, 0.1: 136_305}),
                                                (False, {0.3: 409, 0.1: 1769})])
def test_adam_with_the_full_gradient(recalled, expected):
    def run(eps):
        scale = eps + 2 * SIGMA
        guarantee = step_sizes.deterministic_adam(**CONSTANTS, eps=eps, recalled=recalled)
        optimizer = optim.with_step_size(
            optim.adam_xi(1.0, beta1=guarantee.beta1, beta2=0.999, xi=guarantee.xi,
                          bias_terms=False), guarantee.step_size)
        decrease = (4 * eps**5 * SIGMA / (9 * SMOOTHNESS * scale**4) if recalled
                    else eps**4 / (18 * SMOOTHNESS * scale**2))
        return descend(optimizer, eps, lambda _: decrease, guarantee.max_steps), guarantee.max_steps

    (steps, smallest), bounds = jax.jit(jax.vmap(run))(jnp.array(list(expected)))
    assert steps.tolist() == list(expected.values())
    assert np.all(steps < bounds) and np.all(smallest >= 1)  # and so f falls in every step


def test_where_the_theorem_of_adam_applies():
    for eps in (1e-3, 0.1, 3.0):
        guarantee = step_sizes.deterministic_adam(**CONSTANTS, eps=eps)
        assert guarantee.beta1 < eps / (eps + SIGMA)
        least = step_sizes.smallest_adam_xi(gradient_bound=SIGMA, beta1=guarantee.beta1, eps=eps)
        assert least == pytest.approx(SIGMA, rel=1e-9) and guarantee.xi == 2 * SIGMA
    with pytest.raises(ValueError, match="beta1=0.5: .* use less than .* = 0.25"):
        step_sizes.smallest_adam_xi(gradient_bound=3.0, beta1=0.5, eps=1.0)


def test_stochastic_rmsprop_whose_gradients_agree_in_sign():
    weights = np.array([0.2, 0.6, 1.0, 2.2])
    guarantee = step_sizes.stochastic_rmsprop(
        smoothness=SMOOTHNESS, gradient_bound=2.2 * SIGMA, gap=GAP, beta2=0.9, xi=1.0, eps=0.5)
    assert guarantee.max_steps == pytest.approx(130_400, rel=1e-3)
    assert guarantee.step_size == pytest.approx(5.06e-4, rel=2e-3)
    optimizer = optim.rmsprop_xi(guarantee.step_size, beta2=0.9, xi=1.0)

    def step(carry):
        x, state, t, _ = carry
        gradients = jax.vmap(jax.grad(value))(x)
        drawn = jax.random.choice(jax.random.fold_in(jax.random.key(0), t), weights, (64, 1))
        updates, state = optimizer.update(drawn * gradients, state)
        return x + updates, state, t + 1, jnp.mean(jnp.sum(gradients**2, axis=1))

    x = jnp.tile(START, (64, 1))
    _, _, steps, _ = jax.jit(lambda: jax.lax.while_loop(
        lambda carry: (carry[3] > 0.25) & (carry[2] <= guarantee.max_steps), step,
        (x, optimizer.init(x), jnp.asarray(0), jnp.inf)))()
    assert steps <= guarantee.max_steps
    assert steps == pytest.approx(6664, rel=0.02)  # of other random numbers


def test_the_cycle_of_reddi_et_al_and_the_full_gradient():
    """C x, -x, -x on [-1, 1], whose mean rises: online RMSProp goes to 1 unless xi is large.

    After Reddi, Kale and Kumar (2018), recalled; here with xi in the accumulator. Their gradients
    differ in sign, which theorem 1 excludes.
    """
    c = 4.0
    xis = np.array([0.0, 1e-8, 1.0, 100.0, 1.0])

    def run(xi, gradients):
        optimizer = optim.rmsprop_xi(lambda count: 0.1 / jnp.sqrt(count + 1),
                                     beta2=1 / (1 + c**2), xi=xi)

        def step(carry, gradient):
            x, state = carry
            updates, state = optimizer.update(gradient, state)
            return (jnp.clip(x + updates, -1, 1), state), None

        start = jnp.asarray(0.0)
        return jax.lax.scan(step, (start, optimizer.init(start)), gradients)[0][0]

    online = np.tile([c, -1.0, -1.0], 10_000)
    full = np.full(len(online), np.mean(online))
    ends = jax.jit(jax.vmap(run))(xis, np.stack([online] * 4 + [full]))
    assert np.all(ends[:3] > 0.9) and ends[3] < -0.99 and ends[4] == -1
