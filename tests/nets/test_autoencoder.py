"""Autoencoders: the numbers of their parameters, and their outputs in float64 numpy."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.nets.autoencoder import create_autoencoder

FUNCTIONS = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh,
             "sigmoid": lambda x: 1 / (1 + np.exp(-x))}


def count(inputs, widths, tied):
    network = create_autoencoder(widths, "relu", tied)
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, inputs)))
    return hk.data_structures.tree_size(params)


def test_number_of_parameters():
    # h d + (l - 1) h^2 + (2 l - 1) h + d for l tied layers of width h on d inputs, that is
    # 2 l - 1 hidden layers.
    assert count(484, (1000, 1000), tied=True) == 1_487_484
    assert count(484, (300,), tied=True) == 145_984
    assert count(64, (100,), tied=True) == 6_564
    # Both halves have 784 1000 + 1000 500 + 500 250 + 250 30 weights.
    assert count(784, (1000, 500, 250, 30), tied=False) == 2 * 1_416_500 + 2 * 1750 + 30 + 784


def random_params(network, inputs, seed=0):
    params = network.init(jax.random.key(seed), jnp.zeros((1, inputs)))
    rng = np.random.default_rng(seed)
    # Biases start as 0; others show whether each is added in its place.
    return jax.tree.map(lambda p: p + rng.normal(size=p.shape).astype(np.float32) / 5, params)


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("tied", [True, False])
def test_outputs_are_those_of_float64(activation, tied):
    network = create_autoencoder((7, 5, 3), activation, tied)
    params = random_params(network, 9)
    p = {name: np.asarray(value, float) for name, value in params["autoencoder"].items()}
    assert len(p) == (9 if tied else 12)
    f, x = FUNCTIONS[activation], np.random.default_rng(1).normal(size=(4, 9))
    h = f(x @ p["encoder_w0"] + p["encoder_bias0"])
    h = f(h @ p["encoder_w1"] + p["encoder_bias1"])
    code = h @ p["encoder_w2"] + p["encoder_bias2"]
    if tied:
        decoder = [p[f"encoder_w{i}"].T for i in range(3)]
        code = f(code)
    else:
        decoder = [p[f"decoder_w{i}"] for i in range(3)]
    h = f(code @ decoder[2] + p["decoder_bias2"])
    h = f(h @ decoder[1] + p["decoder_bias1"])
    np.testing.assert_allclose(network.apply(params, jnp.float32(x)),
                               h @ decoder[0] + p["decoder_bias0"], rtol=1e-4, atol=1e-5)


def test_tied_matrix_has_the_gradient_of_both_its_places():
    tied, untied = (create_autoencoder((5,), "relu", t) for t in (True, False))
    params = random_params(tied, 6)["autoencoder"]
    x = jnp.float32(np.random.default_rng(2).normal(size=(8, 6)))

    def loss(network, params):
        return jnp.sum((network.apply({"autoencoder": params}, x) - x) ** 2)

    # With all units on, the code of the tied network is linear too.
    params = {**params, "encoder_bias0": params["encoder_bias0"] + 100.0}
    both = jax.grad(lambda p: loss(tied, p))(params)
    apart = jax.grad(lambda p: loss(untied, p))({**params, "decoder_w0": params["encoder_w0"].T})
    np.testing.assert_allclose(
        both["encoder_w0"], apart["encoder_w0"] + apart["decoder_w0"].T, rtol=1e-4)


@pytest.mark.parametrize("activation, factor", [("relu", 1), ("tanh", 1), ("sigmoid", 4)])
def test_initial_weights_are_uniform_of_glorots_width(activation, factor):
    network = create_autoencoder((80, 40), activation, False)
    params = network.init(jax.random.key(0), jnp.zeros((1, 120)))["autoencoder"]
    for name, shape, scale in (("encoder_w0", (120, 80), factor), ("encoder_w1", (80, 40), 1),
                               ("decoder_w1", (40, 80), factor), ("decoder_w0", (80, 120), 1)):
        bound = scale * np.sqrt(6 / sum(shape))
        w = np.asarray(params[name], float)
        assert w.shape == shape and np.max(np.abs(w)) <= bound * (1 + 1e-6)
        np.testing.assert_allclose(w.std(), bound / np.sqrt(3), rtol=0.04)
    assert not any(np.any(params[f"{part}_bias{i}"]) for part in ("encoder", "decoder")
                   for i in range(2))
