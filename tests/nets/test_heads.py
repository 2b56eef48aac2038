import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nfnets_jax import nets

X = np.random.default_rng(0).normal(1.0, 2.0, (32, 12)).astype(np.float32)


def test_mlp_is_linear_norm_relu_linear():
    network = nets.create_mlp(hidden_size=16, output_size=5, norm="batch", name="projector")
    params, state = network.init(jax.random.key(0), X, True)
    shapes = {f"{m}.{n}": v.shape for m, p in params.items() for n, v in p.items()}
    assert shapes == {
        "projector/linear0.w": (12, 16), "projector/linear0.b": (16,),
        "projector/norm.scale": (1, 16), "projector/norm.offset": (1, 16),
        "projector/linear1.w": (16, 5)}
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    hidden = X @ p["projector/linear0"]["w"]
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    expected = np.maximum(hidden, 0.0) @ p["projector/linear1"]["w"]
    outputs, _ = network.apply(params, state, None, X, True)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_byol_with_a_resnet_50_has_its_published_number_of_parameters():
    def count(network, shape):
        params = jax.eval_shape(
            lambda key: network.init(key, jnp.zeros(shape), True)[0], jax.random.key(0))
        return sum(x.size for x in jax.tree.leaves(params))

    assert count(nets.create("bn_v1_resnet50", None), (2, 224, 224, 3)) == 23_508_032
    mlp = nets.create_mlp(hidden_size=4096, output_size=256, norm="batch")
    assert count(mlp, (2, 2048)) == 9_449_472
    assert count(mlp, (2, 256)) == 2_109_440


def test_standardized_weights_ignore_their_scale_and_have_orthogonal_gradients():
    network = nets.create_mlp(
        hidden_size=16, output_size=5, norm="group", num_groups=4, weight_standardization=True)
    params, state = network.init(jax.random.key(0), X, True)

    def loss(params):
        return jnp.sum(jnp.sin(network.apply(params, state, None, X, True)[0]))

    scaled = jax.tree.map(jnp.array, params)
    scaled["mlp/linear0"]["w"] = 3.0 * params["mlp/linear0"]["w"] + 1.0
    np.testing.assert_allclose(loss(scaled), loss(params), rtol=1e-4)
    for layer in ("mlp/linear0", "mlp/linear1"):
        w, g = params[layer]["w"], jax.grad(loss)(params)[layer]["w"]
        assert np.abs(g).max() > 1e-2
        np.testing.assert_allclose(np.sum(g, 0), 0.0, atol=1e-4)
        np.testing.assert_allclose(np.sum(w * g, 0), 0.0, atol=1e-4)


def test_mlp_computes_in_the_dtype_of_its_input():
    network = nets.create_mlp(hidden_size=16, output_size=5, norm="batch")
    params, state = network.init(jax.random.key(0), X, True)
    outputs, _ = network.apply(params, state, None, X.astype(jnp.bfloat16), True)
    assert outputs.dtype == jnp.bfloat16
    expected, _ = network.apply(params, state, None, X, True)
    np.testing.assert_allclose(outputs, expected, atol=0.1)


def test_instance_norm_of_vectors_is_refused():
    with pytest.raises(ValueError, match="norm='instance' .* use 'layer' or 'group'"):
        nets.create_mlp(hidden_size=16, output_size=5, norm="instance")


def test_two_logits_make_softmax_cross_entropy_the_logistic_loss():
    one = nets.create("mlp", 1, widths=(4,))
    images = np.random.default_rng(0).normal(size=(6, 2, 2, 1)).astype(np.float32)
    params, state = jax.jit(one.init, static_argnums=2)(jax.random.key(0), images, True)
    z = np.float64(one.apply(params, state, None, images, True)[0]["logits"][:, 0])
    two = nets.with_two_logits(one)
    outputs, _ = two.apply(params, state, None, images, is_training=True)
    labels = np.array([0, 1, 0, 1, 1, 0])
    loss = optax.softmax_cross_entropy_with_integer_labels(outputs["logits"], labels)
    np.testing.assert_allclose(loss, np.log1p(np.exp(np.where(labels, -z, z))), rtol=1e-5)
    assert outputs["features"].shape == (6, 4)
