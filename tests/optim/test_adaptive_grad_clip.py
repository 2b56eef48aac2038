"""Adaptive gradient clipping against its definition in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nfnets_jax import nets, optim

SHAPES = {
    "net/conv": {"w": (3, 3, 4, 5), "gain": (5,), "bias": (5,)},
    "net/conv_1x1": {"w": (1, 1, 4, 5)},
    "net/squeeze_excite/fc0": {"w": (6, 3), "b": (3,)},
    "net/block": {"skip_gain": ()},
    "net/one_output": {"w": (3, 3, 4, 1)},
    "net/one_input": {"w": (1, 1, 1, 5)},  # one vector, as in the released code
    "net/classifier": {"w": (6, 10), "b": (10,)},
}


def trees(seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    params, grads = (
        {module: {name: np.asarray(s * rng.normal(size=shape), np.float32)
                  for name, shape in shapes.items()}
         for module, shapes in SHAPES.items()} for s in (1.0, scale))
    params["net/conv"]["bias"][:] = 0  # has the norm eps
    return params, grads


def clip(params, grads, clipping, eps=1e-3):
    transformation = optim.adaptive_grad_clip(clipping, eps)
    return jax.device_get(transformation.update(grads, transformation.init(params), params)[0])


def units(array):
    """[units, weights]: which numbers are clipped together, by rank."""
    if np.squeeze(array).ndim <= 1:
        return array.reshape(1, -1).astype(float)
    return array.reshape(-1, array.shape[-1]).T.astype(float)


@pytest.mark.parametrize("scale", [1e-4, 0.02, 1.0, 1e4])
def test_each_unit_is_clipped_to_its_share_of_the_weights(scale):
    params, grads = trees(scale=scale)
    clipped = clip(params, grads, 0.01)
    for module, values in params.items():
        for name, w in values.items():
            g, ours = (units(tree[module][name]) for tree in (grads, clipped))
            bound = 0.01 * np.maximum(np.linalg.norm(units(w), axis=1), 1e-3)
            norm = np.linalg.norm(g, axis=1)
            factor = np.where(norm > bound, bound / np.maximum(norm, 1e-6), 1.0)
            if module == "net/classifier":
                factor = np.ones_like(factor)
            np.testing.assert_allclose(ours, g * factor[:, None], rtol=2e-5)


def test_scale_above_the_bound_is_irrelevant_and_an_infinite_bound_is_the_identity():
    params, grads = trees(scale=10.0)
    tenfold = jax.tree.map(lambda g: np.asarray(10 * g), grads)
    small, large = clip(params, grads, 1e-3), clip(params, tenfold, 1e-3)
    for module in set(params) - {"net/classifier"}:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
                     small[module], large[module])
    jax.tree.map(np.testing.assert_array_equal, clip(params, grads, 1e9), grads)


def test_the_bound_may_be_traced():
    params, grads = trees()
    traced = jax.jit(lambda clipping: clip_traced(params, grads, clipping))(0.01)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
                 traced, clip(params, grads, 0.01))


def clip_traced(params, grads, clipping):
    transformation = optim.adaptive_grad_clip(clipping)
    return transformation.update(grads, transformation.init(params), params)[0]


def test_sgd_clips_the_raw_gradient_before_decay_and_momentum():
    params, grads = trees(scale=5.0)
    optimizer = optim.sgd(0.1, momentum=0.9, weight_decay=0.5, agc_clipping=0.01)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    clipped = clip(params, grads, 0.01)
    decayed = jax.tree.map(lambda g, w, m: g + 0.5 * w * m, clipped, params,
                           optim.decay_mask(params))
    expected = jax.tree.map(lambda g: -0.1 * (1 + 0.9) * g, decayed)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
                 updates, expected)


def test_every_network_has_one_final_layer_that_is_spared():
    for name in ("nf_resnet_digits", "nfnet_digits", "nf_regnet_digits", "bn_resnet_digits"):
        network = nets.create(name, 10)
        params, _ = jax.eval_shape(
            lambda k, n=network: n.init(k, jnp.zeros((1, 8, 8, 1)), True), jax.random.key(0))
        params = jax.tree.map(lambda s: np.ones(s.shape, np.float32), params)
        grads = jax.tree.map(lambda w: np.asarray(100 * w), params)
        clipped = jax.jit(lambda p, g: clip(p, g, 0.01))(params, grads)
        kept = {module for module in params
                if np.array_equal(clipped[module].get("w", 0), grads[module].get("w", 1))}
        assert {module.split("/")[-1] for module in kept} == {"classifier"}


def test_is_optax_where_nothing_is_spared():
    params, grads = trees(scale=3.0)
    del params["net/classifier"], grads["net/classifier"]
    theirs, _ = optax.adaptive_grad_clip(0.01).update(grads, optax.EmptyState(), params)
    jax.tree.map(np.testing.assert_array_equal, clip(params, grads, 0.01), theirs)
