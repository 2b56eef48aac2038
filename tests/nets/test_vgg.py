"""VGG networks: parameters of recalled architectures, and the forward pass written out again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import nets
from nfnets_jax.config import ConfigError, check_config, default_config


def weights(name):
    """Numbers of parameters by kind: convolutions, matrices, all others."""
    network = nets.create(name, 10)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params, _ = jax.eval_shape(lambda k, x: network.init(k, x, True), jax.random.key(0), images)
    counts = {4: 0, 2: 0, 1: 0}
    for module, values in params.items():
        for leaf in values.values():
            counts[1 if "bn" in module else leaf.ndim] += leaf.size
    return counts


def test_parameters_are_those_of_the_recalled_architectures():
    # No paper's table: derived by hand, for VGG-9 as recalled and for VGG-BC as in the code of
    # BinaryConnect.
    channels = 2 * 64 + 2 * 128 + 3 * 256
    assert weights("vgg9") == {
        4: 1_734_336, 2: 1_048_576 + 2_560, 1: 2 * (channels + 256) + 10}
    channels = 2 * (128 + 256 + 512)
    assert weights("vgg_bc") == {
        4: 4_574_592, 2: 8_388_608 + 1_048_576 + 10_240, 1: 2 * (channels + 2 * 1024 + 10)}


def convolve(x, w):
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    return sum(padded[:, i:i + height, j:j + width] @ w[i, j] for i in range(3) for j in range(3))


def test_the_network_is_the_float64_forward_pass():
    network = nets.create("vgg_digits", 3, widths=(3, 4), depths=(2, 1), hidden_widths=(6, 5),
                          bn_eps=1e-3, norm_classifier=True)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(7, 9, 8, 2)).astype(np.float32)
    params, state = jax.jit(network.init, static_argnums=2)(jax.random.key(0), images, True)
    params = jax.tree.map(lambda w: w + 0.2 * rng.normal(size=w.shape).astype(np.float32), params)
    outputs, _ = jax.jit(network.apply, static_argnums=4)(params, state, None, images, True)

    def normalize(x, module):
        axes = tuple(range(x.ndim - 1))
        x = (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-3)
        values = params[f"vgg/{module}"]
        return x * np.ravel(values["scale"]) + np.ravel(values["offset"])

    x = np.float64(images)
    for i in range(3):
        assert set(params[f"vgg/conv{i}"]) == {"w"}
        x = convolve(x, np.float64(params[f"vgg/conv{i}"]["w"]))
        x = np.maximum(normalize(x, f"bn{i}"), 0)
        if i > 0:  # the last convolution of its stage
            height, width = (size // 2 for size in x.shape[1:3])
            x = x[:, :2 * height, :2 * width].reshape(7, height, 2, width, 2, -1).max((2, 4))
    x = x.reshape(7, -1)
    for i in range(2):
        x = x @ np.float64(params[f"vgg/hidden_{i}"]["w"])
        x = np.maximum(normalize(x, f"hidden_bn{i}"), 0)
    np.testing.assert_allclose(outputs["features"], x, rtol=1e-3, atol=1e-3)
    assert set(params["vgg/classifier"]) == {"w"}
    x = normalize(x @ np.float64(params["vgg/classifier"]["w"]), "classifier_bn")
    np.testing.assert_allclose(outputs["logits"], x, rtol=1e-3, atol=1e-3)


def test_configs_name_stages_and_hidden_layers():
    config = default_config()
    config.network.name, config.network.hidden_widths = "vgg_digits", (32,)
    config.num_epochs, config.schedule.warmup_epochs = 1.0, 0.0
    network = check_config(config, 1)["network"]
    assert network["hidden_widths"] == [32] and network["depths"] == (2, 2)
    assert nets.total_stride(**network) == 4 and nets.image_sizes("vgg9") == (32, 32)
    config.network.name = "vgg9"
    config.network.widths, config.network.depths = (4, 4, 4, 4), (1, 1, 1, 1)
    with pytest.raises(ConfigError, match="smaller than the total stride 16"):
        check_config(config, 1)


@pytest.mark.parametrize("overrides, message", [
    (dict(depths=(1,)), r"widths=\(16, 32\), depths=\(1,\) must have one entry for each stage"),
    (dict(hidden_widths=()), "hidden_widths=.* a list of whole numbers"),
    (dict(weight_init="orthogonal"), "weight_init='orthogonal' .* 'he', 'lecun'"),
    (dict(norm="group", hidden_widths=(40,)), "num_groups=16: does not divide .* 40 channels"),
    (dict(norm="instance"), "norm='instance': has one number to normalize"),
    (dict(activation="glu"), "activation='glu' is not allowed in vgg_digits"),
])
def test_wrong_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        nets.create("vgg_digits", 10, **overrides)
