import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import nets
from nfnets_jax.config import ConfigError, check_config, default_config
from nfnets_jax.optim.sgd import decay_mask

IMAGES = np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype(np.float32)


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
    assert network == dict(name="mlp", widths=[64, 32], activation="relu", weight_init="he")
    assert nets.total_stride(**network) == 1 and nets.image_sizes("mlp") == (8, 8)
    config.network.weight_init = "orthogonal"
    check_config(config, 1)
    config.network.depths = (1, 1)
    with pytest.raises(ConfigError, match="network.depths: .*"):
        check_config(config, 1)


@pytest.mark.parametrize("overrides, message", [
    (dict(widths=()), "widths=.* a list of whole numbers"),
    (dict(weight_init="xavier"), "weight_init='xavier' .* 'he', 'lecun', 'orthogonal'"),
    (dict(activation="glu"), "activation='glu' is not allowed in mlp"),
    (dict(depths=(1,)), "network 'mlp' has no argument 'depths'; nearest: .*widths"),
])
def test_wrong_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        nets.create("mlp", 10, **overrides)
    with pytest.raises(ValueError, match="images must be a floating-point array"):
        nets.create("mlp", 10).init(jax.random.key(0), IMAGES[:, :, :, 0], True)
