import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import nets
from nfnets_jax.config import ConfigError, check_config, default_config
from nfnets_jax.optim.sgd import decay_mask

IMAGES = np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype(np.float32)


def initialize(network, images):
    return jax.jit(network.init, static_argnums=2)(jax.random.key(2), images, True)


def test_outputs_are_those_of_a_float64_forward_pass():
    network = nets.create("mlp", 10, widths=(32, 16))
    params, state = network.init(jax.random.key(0), IMAGES, True)
    assert not state
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda w: w + 0.1 * rng.normal(size=w.shape).astype(np.float32), params)
    outputs, _ = network.apply(params, {}, None, IMAGES, False)
    x = IMAGES.reshape(5, 64).astype(np.float64)
    for i in range(2):
        layer = params[f"mlp/hidden_{i}"]
        x = np.maximum(x @ np.float64(layer["w"]) + np.float64(layer["b"]), 0.0)
    np.testing.assert_allclose(outputs["features"], x, rtol=1e-5, atol=1e-5)
    layer = params["mlp/classifier"]
    logits = x @ np.float64(layer["w"]) + np.float64(layer["b"])
    np.testing.assert_allclose(outputs["logits"], logits, rtol=1e-5, atol=1e-5)


def test_an_encoder_is_the_classifier_without_its_last_layer():
    images = jnp.asarray(IMAGES)
    encoder, classifier = nets.create("mlp", None), nets.create("mlp", 3)
    params, _ = classifier.init(jax.random.key(0), images, True)
    without = {"mlp/hidden_0": params["mlp/hidden_0"]}
    outputs = encoder.apply(without, {}, None, images, True)[0]
    assert set(outputs) == {"features"}
    np.testing.assert_array_equal(
        outputs["features"], classifier.apply(params, {}, None, images, True)[0]["features"])


@pytest.mark.parametrize("weight_init, gain", [("he", 2.0), ("lecun", 1.0)])
def test_first_weights_are_normal_with_the_variance_of_their_initialization(weight_init, gain):
    images = np.zeros((1, 16, 16, 1), np.float32)
    network = nets.create("mlp", 200, widths=(300, 250), weight_init=weight_init)
    params, _ = network.init(jax.random.key(2), images, True)
    for module, fan_in, variance in (("hidden_0", 256, gain / 256), ("hidden_1", 300, gain / 300),
                                     ("classifier", 250, 1 / 250)):
        values = params[f"mlp/{module}"]
        w = np.asarray(values["w"], np.float64)
        assert len(w) == fan_in and not np.any(values["b"])
        # The standard error of the variance is sqrt(2 / n), of the fourth moment sqrt(96 / n).
        assert abs(np.mean(w**2) / variance - 1) < 4 * np.sqrt(2 / w.size)
        assert abs(np.mean(w**4) / variance**2 - 3) < 4 * np.sqrt(96 / w.size)


def test_orthogonal_linear_layers_keep_every_length():
    network = nets.create("mlp", None, widths=(64, 64, 64), weight_init="orthogonal",
                          activation="identity")
    params, _ = network.init(jax.random.key(0), IMAGES, True)
    features = network.apply(params, {}, None, IMAGES, True)[0]["features"]
    x = IMAGES.reshape(5, 64)
    np.testing.assert_allclose(features @ features.T, x @ x.T, rtol=1e-4, atol=1e-4)


def test_norms_follow_every_matrix_and_the_logits_with_statistics_of_the_batch():
    network = nets.create("mlp", 3, widths=(6, 5), activation="tanh", with_bias=False,
                          norm="batch", norm_classifier=True, bn_eps=1e-4, bn_decay_rate=0.0)
    params, state = initialize(network, IMAGES)
    apply = jax.jit(network.apply, static_argnums=4)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda w: w + 0.3 * rng.normal(size=w.shape).astype(np.float32), params)
    outputs, state = apply(params, state, None, IMAGES, True)
    x = np.float64(IMAGES.reshape(5, 64))
    for matrix, norm in (("hidden_0", "bn0"), ("hidden_1", "bn1"), ("classifier", "classifier_bn")):
        assert set(params[f"mlp/{matrix}"]) == {"w"}
        x = x @ np.float64(params[f"mlp/{matrix}"]["w"])
        values = params[f"mlp/{norm}"]
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-4) * values["scale"] + values["offset"]
        x = np.tanh(x) if matrix != "classifier" else x
    np.testing.assert_allclose(outputs["logits"], x, rtol=1e-4, atol=1e-4)
    # The averages have forgotten all but this batch: a test pass repeats the training pass.
    again, _ = apply(params, state, None, IMAGES, False)
    np.testing.assert_allclose(again["logits"], x, rtol=1e-4, atol=1e-4)


def test_first_and_last_matrix_have_initializations_of_their_own():
    network = nets.create("mlp", 300, widths=(200, 250), first_init="lecun", classifier_init="he")
    images = np.zeros((1, 16, 16, 1), np.float32)
    params, _ = initialize(network, images)
    for module, variance in (("hidden_0", 1 / 256), ("hidden_1", 2 / 200), ("classifier", 2 / 250)):
        w = np.float64(params[f"mlp/{module}"]["w"])
        assert abs(np.mean(w**2) / variance - 1) < 4 * np.sqrt(2 / w.size)
    glorot = nets.create("mlp", 1, widths=(100,), weight_init="glorot",
                         classifier_init="orthogonal")
    params, _ = initialize(glorot, images)
    w, bound = np.abs(np.float64(params["mlp/hidden_0"]["w"])), np.sqrt(6 / 356)
    assert 0.999 < w.max() / bound <= 1 + 1e-6 and abs(w.mean() / bound - 0.5) < 0.01
    assert np.linalg.norm(params["mlp/classifier"]["w"]) == pytest.approx(1.0, rel=1e-5)


def test_gradients_of_a_deep_orthogonal_linear_network_are_those_of_a_linear_one():
    # d z / d W_k has the norm of x for every matrix: sum_k <dz_i/dW_k, dz_j/dW_k> = beta <x_i, x_j>
    # (arXiv 1904.06963, the linear case, derived).
    network = nets.create("mlp", 1, widths=(64,) * 3, activation="identity", with_bias=False,
                          weight_init="orthogonal", classifier_init="orthogonal")
    params, _ = initialize(network, IMAGES)
    jacobian = jax.jit(jax.jacrev(
        lambda p: network.apply(p, {}, None, IMAGES, True)[0]["logits"][:, 0]))(params)
    hidden = np.concatenate([np.reshape(jacobian[f"mlp/hidden_{i}"]["w"], (5, -1))
                             for i in range(3)], 1)
    x = IMAGES.reshape(5, 64)
    np.testing.assert_allclose(hidden @ hidden.T, 3 * x @ x.T, rtol=1e-3, atol=1e-3)


def test_parameters_and_logits_stay_float32_whatever_the_images():
    images = jnp.asarray(IMAGES, jnp.bfloat16)
    network = nets.create("mlp", 4)
    params, _ = network.init(jax.random.key(0), images, True)
    outputs = network.apply(params, {}, None, images, True)[0]
    assert {leaf.dtype for leaf in jax.tree.leaves((params, outputs))} == {jnp.dtype("float32")}


def test_weights_decay_and_biases_do_not():
    params, _ = nets.create("mlp", 10).init(jax.random.key(0), IMAGES, True)
    assert decay_mask(params) == {module: {"w": True, "b": False} for module in params}


def test_a_config_names_its_widths():
    config = default_config()
    config.network.name = "mlp"
    config.network.widths = (64, 32)
    config.num_epochs, config.schedule.warmup_epochs = 1.0, 0.0
    network = check_config(config, 1)["network"]
    own = dict(name="mlp", widths=[64, 32], activation="relu", weight_init="he")
    assert {key: network[key] for key in own} == own and network["norm"] == "none"
    assert nets.total_stride(**network) == 1 and nets.image_sizes("mlp") == (8, 8)
    config.network.weight_init = "orthogonal"
    check_config(config, 1)
    config.network.depths = (1, 1)
    with pytest.raises(ConfigError, match="network.depths: .*"):
        check_config(config, 1)


@pytest.mark.parametrize("overrides, message", [
    (dict(widths=()), "widths=.* a list of whole numbers"),
    (dict(weight_init="xavier"), "weight_init='xavier' .* 'he', 'lecun', 'orthogonal'"),
    (dict(first_init="zeros"), "first_init='zeros' .* 'same', 'glorot', 'he'"),
    (dict(norm_classifier=True), "norm_classifier=True is not allowed with norm='none'"),
    (dict(norm="group", widths=(32, 24)), "num_groups=16: does not divide a layer of 24"),
    (dict(activation="glu"), "activation='glu' is not allowed in mlp"),
    (dict(depths=(1,)), "network 'mlp' has no argument 'depths'; nearest: .*widths"),
])
def test_wrong_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        nets.create("mlp", 10, **overrides)
    with pytest.raises(ValueError, match="images must be a floating-point array"):
        nets.create("mlp", 10).init(jax.random.key(0), IMAGES[:, :, :, 0], True)
