import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax import nets
from nfnets_jax.analysis import signal_propagation
from nfnets_jax.analysis.signal_propagation import measure, with_unit_skip_gain
from nfnets_jax.nets import conv, weight_standardization

# Two stages of basic blocks, wide enough for averages over channels to be near expectations.
DEEP = dict(widths=(48, 64), depths=(12, 8), strides=(1, 2), stem_width=32)


@pytest.fixture
def circular_padding(monkeypatch):
    """Wraps images around, since the theory has no border."""
    zero_padded = conv.conv

    def circular(inputs, kernel, stride=1, padding="SAME", groups=1):
        assert padding == "SAME" and inputs.shape[1] % stride == 0
        total = max(kernel.shape[0] - stride, 0)
        pad = (total // 2, total - total // 2)
        wrapped = jnp.pad(inputs, ((0, 0), pad, pad, (0, 0)), mode="wrap")
        return zero_padded(wrapped, kernel, stride, "VALID", groups)

    monkeypatch.setattr(conv, "conv", circular)
    monkeypatch.setattr(weight_standardization, "conv", circular)


def measure_at_initialization(name, **overrides):
    network = nets.create(name, 10, **overrides)
    images = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype(np.float32)
    params, state = network.init(jax.random.key(0), images[:1], True)
    expected = nets.expected_variance(name, **overrides)
    return measure(network, with_unit_skip_gain(params), state, images), expected


def slopes(values):
    """Mean increase for each block within the two stages."""
    first, second = values[1 : DEEP["depths"][0] + 1], values[DEEP["depths"][0] + 1 :]
    return [np.mean(np.diff(stage)) for stage in (first, second)]


def test_normalizer_free_signal_follows_the_bookkeeping(circular_padding):
    # arXiv 2101.08692, figure 2: variances follow alpha's bookkeeping, means stay near zero.
    standardized, expected = measure_at_initialization("nf_resnet_digits", **DEEP)
    ratio = standardized["average_variance"] / expected["average_variance"]
    assert np.max(np.abs(ratio - 1.0)) < 0.06
    assert np.mean(standardized["residual_variance"]) == pytest.approx(1.0, abs=0.03)
    assert np.max(standardized["average_squared_mean"]) < 0.02
    # Without weight standardization and with He's initialization, whose gain of 2 doubles the
    # pixels' variance in the stem, residual variance falls short and means accumulate.
    he, _ = measure_at_initialization("nf_resnet_digits", **DEEP, weight_standardization=False)
    end = DEEP["depths"][0]
    assert he["average_variance"][0] == pytest.approx(2.0, rel=0.15)
    assert np.mean(he["residual_variance"]) / 2.0 < 0.45
    assert he["average_squared_mean"][end] / 2.0 > 0.2
    assert he["average_squared_mean"][end] > 50 * standardized["average_squared_mean"][end]


def test_batch_norm_before_relu_follows_the_half_normal_recursion(circular_padding):
    # arXiv 2101.08692, figure 1: residual variance 1 - 1 / pi with He's initialization.
    measured, expected = measure_at_initialization("bn_resnet_digits", **DEEP, weight_init="he")
    theory = 1 - 1 / np.pi
    assert np.mean(measured["residual_variance"]) == pytest.approx(theory, rel=0.05)
    np.testing.assert_allclose(slopes(measured["average_variance"]), theory, rtol=0.05)
    # 1 / pi on average; the products of different blocks' means leave much of it to chance.
    assert 0.1 < min(slopes(measured["average_squared_mean"]))
    assert max(slopes(measured["average_squared_mean"])) < 0.8
    np.testing.assert_allclose(
        measured["average_variance"][1:], expected["average_variance"][1:], rtol=0.06
    )


def test_relu_before_batch_norm_in_a_tagged_network_of_ones_own():
    # arXiv 2101.08692, figure 1: with ReLU -> BN -> Linear the residual variance is 1.
    num_blocks, width = 10, 128

    def forward(x, is_training):
        x = nets.tag("stem", x)
        for _ in range(num_blocks):
            h = hk.BatchNorm(True, True, 0.9)(jax.nn.relu(x), is_training, False)
            w_init = hk.initializers.VarianceScaling(1.0, "fan_in", "normal")
            h = nets.tag("residual_branch", hk.Linear(width, w_init=w_init)(h))
            x = nets.tag("block_output", x + h)
        return x

    network = hk.transform_with_state(forward)
    x = np.random.default_rng(0).normal(size=(1024, width)).astype(np.float32)
    params, state = network.init(jax.random.key(0), x, True)
    measured = measure(network, params, state, x)
    np.testing.assert_allclose(measured["residual_variance"], np.ones(num_blocks), rtol=0.05)
    np.testing.assert_allclose(measured["average_variance"], np.arange(11) + 1.0, rtol=0.05)
    np.testing.assert_allclose(measured["average_squared_mean"], np.zeros(11), atol=5e-3)


def test_predicates_select_the_modules_of_a_foreign_network():
    network = hk.transform_with_state(
        lambda images, is_training: hk.nets.ResNet50(10, resnet_v2=True)(images, is_training)
    )
    rng = np.random.default_rng(0)
    images = rng.normal(size=(8, 64, 64, 3)).astype(np.float32)
    shapes = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, True), images)

    def draw(module_name, name, leaf):
        if name == "w":
            fan_in = np.prod(leaf.shape[:-1])
            return rng.normal(0, (2 / fan_in) ** 0.5, leaf.shape).astype(np.float32)
        return np.full(leaf.shape, name == "scale", leaf.dtype)

    params = hk.data_structures.map(draw, shapes[0])
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes[1])
    measured = measure(
        network, params, state, images,
        is_stem=lambda module: module.name == "initial_conv",
        is_block=lambda module: isinstance(module, hk.nets.ResNet.BlockV2),
        is_residual_branch=lambda module: module.name == "conv_2",
    )
    assert [len(values) for values in measured.values()] == [17, 17, 16]
    # The variance of N(0, 1) pixels under He's initialization, less what the border of zeros
    # removes from the 32 x 32 outputs of a 7x7 convolution.
    assert measured["average_variance"][0] == pytest.approx(2.0, rel=0.12)
    # BN -> ReLU -> 1x1 convolution, as in our own batch-normalized networks.
    expected = nets.expected_variance("bn_resnet50", weight_init="he")
    np.testing.assert_allclose(
        measured["residual_variance"], expected["residual_variance"], rtol=0.1
    )
    np.testing.assert_allclose(
        measured["average_variance"][1:], expected["average_variance"][1:], rtol=0.12
    )


def test_moments_are_those_of_channels_in_float32():
    rng = np.random.default_rng(0)
    x = rng.normal(100.0, [1.0, 2.0, 3.0], size=(64, 5, 3)).astype(np.float32)
    assert signal_propagation.average_variance(x) == pytest.approx(
        np.mean(np.var(x.astype(np.float64), (0, 1))), rel=1e-4
    )
    assert signal_propagation.average_squared_mean(x) == pytest.approx(
        np.mean(np.mean(x.astype(np.float64), (0, 1)) ** 2), rel=1e-5
    )


def test_unit_skip_gain_changes_nothing_else():
    params = {
        "net/block": {"skip_gain": np.zeros(()), "gain": np.full(3, 2.0)},
        "net/skip_gain": {"w": np.zeros(2)},
    }
    changed = with_unit_skip_gain(params)
    assert changed["net/block"]["skip_gain"] == 1.0
    np.testing.assert_array_equal(changed["net/block"]["gain"], np.full(3, 2.0))
    np.testing.assert_array_equal(changed["net/skip_gain"]["w"], np.zeros(2))


def test_networks_without_marks_are_refused():
    network = hk.transform_with_state(lambda x, is_training: hk.Linear(2)(x))
    x = np.zeros((3, 4), np.float32)
    params, state = network.init(jax.random.key(0), x, True)
    with pytest.raises(ValueError, match=r"found 0 by nets.tag\('stem', ...\).*Mark them"):
        measure(network, params, state, x)
    with pytest.raises(ValueError, match="1 by is_stem, 0 by nets.tag"):
        measure(network, params, state, x, is_stem=lambda module: True)


def test_modules_that_return_no_array_are_refused():
    class Pair(hk.Module):
        def __call__(self, x):
            return x, x

    network = hk.transform_with_state(lambda x, is_training: Pair(name="pair")(x))
    with pytest.raises(ValueError, match="module 'pair' was selected .* returns tuple"):
        measure(network, {}, {}, np.zeros((3, 4)), is_block=lambda module: True)
