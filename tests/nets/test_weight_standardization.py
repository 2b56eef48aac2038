import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.nets import WSConv2D, standardize


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    w = jnp.asarray(rng.normal(0.7, 0.3, (3, 3, 5, 6)), jnp.float32)
    gain = jnp.asarray(rng.uniform(0.5, 2.0, 6), jnp.float32)
    return w, gain


def test_units_have_zero_sum_and_the_norm_of_their_gain(weights):
    w, gain = weights
    standardized = np.asarray(standardize(w, gain), np.float64)
    np.testing.assert_allclose(standardized.sum((0, 1, 2)), np.zeros(6), atol=2e-5)
    np.testing.assert_allclose((standardized**2).sum((0, 1, 2)), np.square(gain), rtol=1e-5)


def test_affine_changes_of_the_raw_weights_change_nothing(weights):
    w, gain = weights
    np.testing.assert_allclose(
        standardize(3.0 * w - 2.0, gain), standardize(w, gain), rtol=1e-4, atol=1e-5
    )


def test_gradients_are_orthogonal_to_shifts_and_scalings(weights):
    w, gain = weights
    direction = np.random.default_rng(1).normal(size=w.shape).astype(np.float32)

    def loss(w, gain):
        return jnp.sum(jnp.sin(direction * standardize(w, gain)))

    w_gradient, gain_gradient = map(np.asarray, jax.jit(jax.grad(loss, (0, 1)))(w, gain))
    w, gain, standardized = (np.asarray(x) for x in (w, gain, standardize(w, gain)))
    assert np.abs(w_gradient).max((0, 1, 2)).min() > 0.1
    np.testing.assert_allclose(w_gradient.sum((0, 1, 2)), np.zeros(6), atol=1e-5)
    centered = w - w.mean((0, 1, 2))
    np.testing.assert_allclose((w_gradient * centered).sum((0, 1, 2)), np.zeros(6), atol=1e-5)
    outer_gradient = direction * np.cos(direction * standardized)
    expected = (outer_gradient * standardized).sum((0, 1, 2)) / gain
    np.testing.assert_allclose(gain_gradient, expected, rtol=1e-4, atol=1e-5)


def test_vanishing_variance_follows_the_rule_of_each_mode():
    # 44 weights of +-1e-3: N sigma^2 = 4.4e-5, below the clamp of 1e-4.
    w = 1e-3 * np.resize([1.0, -1.0], 44).astype(np.float32)[:, None]
    clamped = standardize(w, np.ones(1, np.float32))
    np.testing.assert_allclose(clamped, w / 1e-2, rtol=1e-5)
    added = standardize(w, np.ones(1, np.float32), "add_to_variance", 1e-5)
    np.testing.assert_allclose(added, w / np.sqrt(44 * 1.1e-5), rtol=1e-5)
    assert np.all(standardize(np.full((44, 1), 0.5, np.float32), np.ones(1, np.float32)) == 0.0)
    with pytest.raises(ValueError, match="eps_mode='none'.*'clamp', 'add_to_variance'"):
        standardize(w, np.ones(1, np.float32), "none")


def make_layer(**arguments):
    return hk.without_apply_rng(hk.transform(lambda x: WSConv2D(name="conv", **arguments)(x)))


def test_grouped_convolution_is_one_convolution_of_each_group():
    network = make_layer(channels=6, kernel_size=3, stride=2, groups=2)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 7, 7, 8)).astype(np.float32)
    w = network.init(jax.random.key(1), x)["conv"]["w"]
    assert w.shape == (3, 3, 4, 6)
    assert 0.14 < np.std(w) < 0.19  # 36^-1/2 = 0.167, with a standard error of 0.008
    gain = rng.uniform(0.5, 2.0, 6).astype(np.float32)
    bias = rng.normal(size=6).astype(np.float32)
    outputs = network.apply({"conv": dict(w=w, gain=gain, bias=bias)}, x)
    kernel = np.asarray(standardize(w, gain))
    # With an odd size and stride 2, SAME pads by one on both sides.
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((2, 4, 4, 6)) + bias
    for group in range(2):
        outs, ins = slice(3 * group, 3 * group + 3), slice(4 * group, 4 * group + 4)
        for i in range(3):
            for j in range(3):
                window = padded[:, i : i + 7 : 2, j : j + 7 : 2, ins]
                expected[..., outs] += window @ kernel[i, j, :, outs]
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def test_half_precision_input_standardizes_in_float32():
    network = make_layer(channels=16, kernel_size=3)
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 32)).astype(jnp.bfloat16)
    params = network.init(jax.random.key(1), x)
    assert {leaf.dtype for leaf in params["conv"].values()} == {jnp.dtype(jnp.float32)}
    # A mean of 100 leaves no digit of the weights in bfloat16, and four in float32.
    shifted = {"conv": dict(params["conv"], w=params["conv"]["w"] + 100.0)}
    outputs, expected = network.apply(shifted, x), network.apply(params, x)
    assert outputs.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.asarray(outputs, np.float32), np.asarray(expected, np.float32), atol=0.03
    )
