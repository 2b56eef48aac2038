"""Noise of gradients that are known: quadratic losses around points that NumPy draws."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from nfnets_jax.analysis import gradient_noise
from nfnets_jax.training.mesh import DATA, REPLICATED, make_mesh, map_over_devices

MEAN, SCALES = np.array([0.3, -0.4, 0.0]), np.array([1.0, 0.5, 2.0])
GRADIENT_SQUARE, TRACE = 0.25, 5.25


def losses(params, batch):
    """Of which the gradient of an example is the example."""
    return batch @ params["w"] + params["b"] * 0


PARAMS = {"w": jnp.ones(3), "b": jnp.zeros(())}


def draw(rng, *shape):
    return MEAN + SCALES * rng.normal(size=(*shape, 3))


def test_estimates_are_those_of_numpy_and_of_the_gram_matrix():
    examples = draw(np.random.default_rng(0), 7, 4)
    grads = examples.mean(1)
    trace = 4 * np.trace(np.cov(grads.T))
    square = np.sum(grads.mean(0)**2) - trace / 28
    with jax.enable_x64(True):
        params = jax.tree.map(np.float64, PARAMS)
        found = jax.jit(lambda x: gradient_noise.measure(losses, params, x))(examples)
        by_gram = gradient_noise.of_gram(jnp.asarray(grads @ grads.T), batch_size=4)
    np.testing.assert_allclose(found, [square, trace, trace / square], rtol=1e-12)
    np.testing.assert_allclose(by_gram, found, rtol=1e-12)


@pytest.mark.parametrize(("count", "size"), [(6, 1), (3, 8)])
def test_estimates_are_unbiased(count, size):
    examples = draw(np.random.default_rng(1), 2000, count, size)
    found = jax.jit(jax.vmap(lambda x: gradient_noise.measure(losses, PARAMS, x)))(examples)
    for values, truth in ((found.gradient_square, GRADIENT_SQUARE),
                          (found.covariance_trace, TRACE)):
        error = np.std(values) / 2000**0.5
        assert abs(np.mean(values) - truth) < 3 * error < 0.1 * TRACE


def test_the_variance_of_large_gradients_is_not_lost_in_float32():
    examples = draw(np.random.default_rng(2), 64, 4) * 1e-3 + 1e3
    found = jax.jit(lambda x: gradient_noise.measure(losses, PARAMS, x))(examples)
    rounded = examples.astype(np.float32).astype(float).mean(1)
    # Gradients of about 1000 are given to 6e-5, and so are their means; 1e-3 is the noise.
    assert found.covariance_trace == pytest.approx(4 * np.trace(np.cov(rounded.T)), rel=0.02)


def test_devices_share_each_minibatch():
    examples = draw(np.random.default_rng(3), 5, 8).astype(np.float32)
    one = jax.jit(lambda x: gradient_noise.measure(losses, PARAMS, x))(examples)
    program = map_over_devices(
        lambda x: gradient_noise.measure(losses, PARAMS, x, axis_name=DATA),
        make_mesh(devices=jax.devices()[:4]), P(None, DATA), REPLICATED)
    np.testing.assert_allclose(program(examples), one, rtol=1e-5)


def test_one_minibatch_is_refused():
    with pytest.raises(ValueError, match="1 minibatch has no variance; give two or more"):
        gradient_noise.of_gram(jnp.ones((1, 1)))


@pytest.mark.parametrize("sampling", ["independent", "disjoint"])
def test_pairs_of_minibatches_estimate_without_bias(sampling):
    gradients = np.random.default_rng(0).normal(size=(5, 3)) + 0.7
    batches = list(itertools.combinations(range(5), 2))
    products = []
    for a, b in itertools.product(batches, batches):
        if sampling == "independent" or not set(a) & set(b):
            pair = np.stack([gradients[list(a)].mean(0), gradients[list(b)].mean(0)])
            products.append(pair @ pair.T)
    found = gradient_noise.of_pairs(np.array(products), 2, 5, sampling)
    assert found.gradient_square == pytest.approx(np.sum(gradients.mean(0) ** 2), rel=1e-12)
    assert found.covariance_trace == pytest.approx(np.sum(gradients.var(0)), rel=1e-12)
