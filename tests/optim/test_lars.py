import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nfnets_jax.optim import lars


def run(optimizer, params, gradients):
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


def tree(w, b=(0.0,)):
    return {"layer": {"w": jnp.asarray(w), "b": jnp.asarray(b)}}


def test_equals_a_float64_reference_with_decay_momentum_and_a_schedule():
    rng = np.random.default_rng(0)
    start = {"conv": {"w": rng.normal(size=(3, 3, 2, 4)), "bias": rng.normal(size=4)},
             "norm": {"scale": rng.normal(size=4), "offset": rng.normal(size=4)},
             "ws": {"w": rng.normal(size=(3, 4)), "gain": rng.normal(size=4)}}
    gradients = [jax.tree.map(lambda x: rng.normal(size=x.shape), start) for _ in range(5)]
    rates, decay, eta, momentum = [0.0, 1.0, 2.0, 1.5, 0.5], 1e-2, 0.02, 0.9
    expected, buffers = jax.tree.map(np.array, start), jax.tree.map(np.zeros_like, start)
    for rate, gradient in zip(rates, gradients, strict=True):
        for module, values in gradient.items():
            for name, g in values.items():
                w = expected[module][name]
                if name == "w":
                    g = g + decay * w
                    g = g * eta * np.linalg.norm(w) / np.linalg.norm(g)
                buffers[module][name] = momentum * buffers[module][name] + g
                expected[module][name] = w - rate * buffers[module][name]
    optimizer = lars(lambda step: jnp.array(rates)[step], momentum=momentum, weight_decay=decay,
                     trust_coefficient=eta)
    result = run(optimizer, jax.tree.map(jnp.float32, start),
                 [jax.tree.map(jnp.float32, g) for g in gradients])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
                 result, expected)


def test_the_learning_rate_multiplies_the_momentum_and_not_what_enters_it():
    rates = jnp.array([0.0, 1.0, 2.0])
    gradients = [tree([1.0, 0.0])] * 3
    ours = run(lars(lambda step: rates[step], momentum=0.9, weight_decay=0.0,
                    trust_coefficient=1e-3), tree([3.0, 4.0]), gradients)
    other = run(optax.lars(lambda step: rates[step], momentum=0.9, weight_decay=0.0,
                           trust_coefficient=1e-3), tree([3.0, 4.0]), gradients)
    g = np.array([1.0, 0.0])
    w, m = np.array([3.0, 4.0]), np.zeros(2)
    for rate in np.asarray(rates):
        m = 0.9 * m + 1e-3 * np.linalg.norm(w) * g
        w = w - rate * m
    np.testing.assert_allclose(ours["layer"]["w"], w, rtol=1e-6)
    assert np.abs(np.asarray(other["layer"]["w"]) - w).max() > 1e-3


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_first_step_of_a_weight_has_the_same_length_for_any_gradient(scale):
    optimizer = lars(2.0, momentum=0.9, weight_decay=0.0, trust_coefficient=1e-3)
    gradient = tree([-0.5 * scale, 2.0 * scale], [scale])
    result = run(optimizer, tree([3.0, 4.0]), [gradient])
    step = np.asarray(result["layer"]["w"]) - [3.0, 4.0]
    assert np.linalg.norm(step) == pytest.approx(2.0 * 1e-3 * 5.0, rel=1e-4)
    np.testing.assert_allclose(result["layer"]["b"], -2.0 * scale, rtol=1e-6)


def test_zero_weights_and_zero_gradients_are_not_scaled():
    optimizer = lars(1.0, momentum=0.0, weight_decay=0.0, trust_coefficient=1e-3)
    np.testing.assert_allclose(
        run(optimizer, tree([0.0, 0.0]), [tree([0.5, 1.0])])["layer"]["w"], [-0.5, -1.0])
    np.testing.assert_allclose(
        run(optimizer, tree([3.0, 4.0]), [tree([0.0, 0.0])])["layer"]["w"], [3.0, 4.0])


def test_excluded_parameters_have_a_multiplier_of_their_own():
    optimizer = lars(1.0, momentum=0.0, weight_decay=0.1, trust_coefficient=1e-3,
                     excluded_multiplier=0.25)
    result = run(optimizer, tree([3.0, 4.0], [2.0]), [tree([1.0, 0.0], [1.0])])
    np.testing.assert_allclose(result["layer"]["b"], 1.75)
    assert np.linalg.norm(result["layer"]["w"] - jnp.array([3.0, 4.0])) == pytest.approx(
        5e-3, rel=1e-4)
