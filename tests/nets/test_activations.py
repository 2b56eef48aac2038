import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from nfnets_jax import nets

# Exact values, from the closed form or from adaptive quadrature.
EXACT = {
    "relu": np.sqrt(2 / (1 - 1 / np.pi)),
    "selu": 1.0,
    "identity": 1.0,
    "silu": 1.787187222,
    "gelu": 1.700916562,
    "leaky_relu": 1.704831627,
    "tanh": 1.592537420,
}


@pytest.mark.parametrize("name", sorted(set(nets.activation_names()) - {"log_softmax"}))
def test_released_gamma_is_near_quadrature(name):
    assert nets.gamma(name) == pytest.approx(nets.gamma_by_quadrature(name), rel=1.5e-3)


@pytest.mark.parametrize("name", EXACT)
def test_quadrature_is_exact(name):
    assert nets.gamma_by_quadrature(name) == pytest.approx(EXACT[name], rel=2e-7)


def test_quadrature_agrees_with_adaptive_integration_of_own_activation():
    def mish(x):
        return x * np.tanh(np.log1p(np.exp(x)))

    def expectation(function):
        return integrate.quad(lambda z: function(z) * stats.norm.pdf(z), -12, 12, epsabs=1e-12)[0]

    variance = expectation(lambda z: mish(z) ** 2) - expectation(mish) ** 2
    assert nets.gamma_by_quadrature(jax.nn.mish) == pytest.approx(variance**-0.5, rel=1e-6)


def test_moments_of_relu_are_half_normal():
    mean, second_moment = nets.moments_by_quadrature("relu")
    assert mean == pytest.approx((2 * np.pi) ** -0.5, rel=1e-6)
    assert second_moment == pytest.approx(0.5, rel=1e-6)


def test_activations_compute_gamma_times_the_function():
    x = np.linspace(-3.0, 8.0, 45).astype(np.float32)
    sigmoid = special.expit(x.astype(np.float64))
    expected = {
        "silu": nets.gamma("silu") * x * sigmoid,
        "relu6": nets.gamma("relu6") * np.clip(x, 0, 6),
        "gelu": nets.gamma("gelu")
        * 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        "soft_sign": nets.gamma("soft_sign") * x / (1 + np.abs(x)),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(nets.activation(name)(x), values, rtol=2e-5, atol=1e-6)
        plain = nets.activation(name, scaled=False)(x)
        np.testing.assert_allclose(plain * nets.gamma(name), values, rtol=2e-5, atol=1e-6)


def test_glu_and_log_softmax_preserve_variance_over_channels():
    z = np.random.default_rng(0).normal(size=(4000, 512)).astype(np.float32)
    for name in ("glu", "log_softmax"):
        assert np.var(nets.activation(name)(z)) == pytest.approx(1.0, abs=0.01)


def test_activations_keep_half_precision():
    x = jax.ShapeDtypeStruct((1, 8), jnp.bfloat16)
    for name in nets.activation_names():
        assert jax.eval_shape(nets.activation(name), x).dtype == jnp.bfloat16, name


def test_wrong_names_are_answered_with_near_ones():
    with pytest.raises(ValueError, match="activation='sliu' is unknown; nearest: silu"):
        nets.activation("sliu")
    with pytest.raises(ValueError, match="log_softmax"):
        nets.gamma_by_quadrature("log_softmax")
