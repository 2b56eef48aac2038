import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.nets import SqueezeExcite, StochasticDepth, tag


@pytest.mark.parametrize("scale_by_keep", [False, True])
def test_stochastic_depth_drops_whole_examples_at_its_rate(scale_by_keep):
    num_examples, rate = 6000, 0.3
    layer = hk.transform(lambda x, train: StochasticDepth(rate, scale_by_keep)(x, train))
    x = np.random.default_rng(0).uniform(1, 2, (num_examples, 2, 3, 4)).astype(np.float32)
    outputs = np.asarray(layer.apply({}, jax.random.key(1), x, True))
    kept = outputs.any(axis=(1, 2, 3))
    standard_error = np.sqrt(rate * (1 - rate) / num_examples)
    assert abs(kept.mean() - (1 - rate)) < 4 * standard_error
    expected = x / (1 - rate if scale_by_keep else 1.0)
    np.testing.assert_allclose(outputs[kept], expected[kept], rtol=1e-6)
    np.testing.assert_array_equal(layer.apply({}, None, x, False), x)


def test_squeeze_excite_gate_is_computed_from_the_means():
    network = hk.without_apply_rng(hk.transform(lambda x: SqueezeExcite(3)(x)))
    x = np.random.default_rng(0).normal(np.arange(12), size=(3, 5, 5, 12)).astype(np.float32)
    params = network.init(jax.random.key(1), x)
    fc0, fc1 = params["squeeze_excite/fc0"], params["squeeze_excite/fc1"]
    assert fc0["w"].shape == (12, 3)
    hidden = np.maximum(np.mean(x, (1, 2)) @ fc0["w"] + fc0["b"], 0.0)
    expected = 1.0 / (1.0 + np.exp(-(hidden @ fc1["w"] + fc1["b"])))
    np.testing.assert_allclose(network.apply(params, x)[:, 0, 0], expected, rtol=1e-4)
    assert network.apply(params, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    zeros = jax.tree.map(np.zeros_like, params)
    np.testing.assert_array_equal(2 * network.apply(zeros, x), np.ones((3, 1, 1, 12)))


def test_tag_changes_and_stores_nothing():
    network = hk.transform_with_state(lambda x: tag("stem", x))
    params, state = network.init(None, np.arange(3.0))
    assert not params and not state
    np.testing.assert_array_equal(network.apply({}, {}, None, np.arange(3.0))[0], [0, 1, 2])
    with pytest.raises(ValueError, match="tag 'branch' is unknown; allowed: stem, residual_branch"):
        tag("branch", np.ones(1))
