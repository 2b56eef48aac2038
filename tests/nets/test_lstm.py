"""The LSTM language model against its equations in float64, and against Haiku's cell."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.nets import lstm

SIZES = dict(hidden_size=6, num_layers=2)
V = 11


def make(dropout_rate=0.0, tied_embedding=False, **changes):
    """The network's function and parameters large enough that every gate matters."""
    sizes = {**SIZES, **changes}
    network = lstm.lstm_language_model(
        V, **sizes, dropout_rate=dropout_rate, init_scale=0.8, tied_embedding=tied_embedding)
    params = jax.jit(network.init, static_argnums=3)(
        jax.random.key(1), jnp.zeros((1, 1), jnp.int32),
        lstm.initial_state(1, sizes["num_layers"], sizes["hidden_size"]), True)
    apply = jax.jit(lambda *arguments: network.apply(*arguments), static_argnums=4)
    return apply, params


def some_state(count=3, seed=0, num_layers=2, hidden_size=6):
    rng = np.random.default_rng(seed)
    return hk.LSTMState(*rng.normal(0, 0.5, (2, count, num_layers, hidden_size)).astype(np.float32))


def some_tokens(length, count=3, seed=0):
    return np.random.default_rng(seed).integers(0, V, (count, length), dtype=np.int32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def forward(params, tokens, state, tied_embedding=False, drop=lambda x: x):
    """Float64 numpy, one token after the other, one gate after the other."""
    params = jax.tree.map(lambda x: np.asarray(x, float), params)
    hidden, cell = (np.array(s, float) for s in state)
    embeddings = params["embedding"]["embeddings"]
    logits = []
    for t in range(tokens.shape[1]):
        x = embeddings[tokens[:, t]]
        for layer in range(hidden.shape[1]):
            name = "lstm" if layer == 0 else f"lstm_{layer}"
            w_x, b = params[f"{name}/input"]["w"], params[f"{name}/input"]["b"]
            total = drop(x) @ w_x + hidden[:, layer] @ params[name]["w_hidden"] + b
            i, g, f, o = (total[:, k * x.shape[1]: (k + 1) * x.shape[1]] for k in range(4))
            cell[:, layer] = sigmoid(f) * cell[:, layer] + sigmoid(i) * np.tanh(g)
            x = hidden[:, layer] = sigmoid(o) * np.tanh(cell[:, layer])
        x = drop(x)
        logits.append(x @ embeddings.T + params["decoder"]["b"] if tied_embedding else
                      x @ params["decoder"]["w"] + params["decoder"]["b"])
    return np.stack(logits, axis=1), (hidden, cell)


@pytest.mark.parametrize("tied_embedding", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_forward_is_the_equations(tied_embedding, num_layers):
    apply, params = make(0.5, tied_embedding, num_layers=num_layers)
    tokens, state = some_tokens(7), some_state(num_layers=num_layers)
    logits, last = apply(params, None, tokens, state, False)
    expected, (hidden, cell) = forward(params, tokens, state, tied_embedding)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    np.testing.assert_allclose(last.hidden, hidden, atol=5e-6)
    np.testing.assert_allclose(last.cell, cell, atol=5e-6)


def test_cell_is_haiku_s_but_for_its_forget_bias():
    _, params = make()
    inputs = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    state = hk.LSTMState(*(s[:, 0] for s in some_state()))
    layer = hk.without_apply_rng(hk.transform(
        lambda x, s: lstm._Layer(6, jnp.zeros)(x[:, None], s)))
    own = {"lstm": params["lstm"], "lstm/input": params["lstm/input"]}
    _, ours = layer.apply(own, inputs, state)
    bias = params["lstm/input"]["b"] - np.repeat([0, 0, 1, 0], 6)
    weights = np.concatenate([params["lstm/input"]["w"], params["lstm"]["w_hidden"]])
    haiku = hk.without_apply_rng(hk.transform(lambda x, s: hk.LSTM(6)(x, s)))
    _, theirs = haiku.apply({"lstm/linear": {"w": weights, "b": bias}}, inputs, state)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_two_passes_are_one_of_twice_the_length():
    apply, params = make()
    tokens, state = some_tokens(10), some_state()
    whole, end = apply(params, None, tokens, state, False)
    first, state = apply(params, None, tokens[:, :4], state, False)
    second, state = apply(params, None, tokens[:, 4:], state, False)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-6)
    for one, other in zip(state, end, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_dropout_leaves_the_recurrence_alone():
    apply, params = make(dropout_rate=1 - 1e-7)
    tokens, state = some_tokens(5), some_state()
    logits, last = apply(params, jax.random.key(0), tokens, state, True)
    expected, (hidden, cell) = forward(params, tokens, state, drop=np.zeros_like)
    np.testing.assert_allclose(logits, expected, atol=2e-5)  # the bias of the decoder
    np.testing.assert_allclose(last.hidden, hidden, atol=5e-6)
    np.testing.assert_allclose(last.cell, cell, atol=5e-6)


def test_dropout_is_drawn_for_every_step_and_keeps_the_mean():
    apply, params = make(dropout_rate=0.25, num_layers=1, hidden_size=64)
    # Without recurrence and with gates at rest all steps of the same token are the same.
    params = {**params, "lstm": jax.tree.map(jnp.zeros_like, params["lstm"]),
              "lstm/input": jax.tree.map(jnp.zeros_like, params["lstm/input"])}
    params["lstm/input"]["b"] = jnp.repeat(jnp.array([30.0, 0.5, -30.0, 30.0]), 64)
    params["decoder"] = {"w": jnp.eye(64, V), "b": jnp.zeros(V)}
    tokens = np.zeros((50, 40), np.int32)
    state = lstm.initial_state(50, 1, 64)
    logits, _ = apply(params, jax.random.key(0), tokens, state, True)
    kept = np.tanh(np.tanh(0.5)) / 0.75
    values = np.asarray(logits)
    assert np.all(np.isclose(values, 0) | np.isclose(values, kept, rtol=1e-5))
    assert np.mean(values > 0) == pytest.approx(0.75, abs=0.01)  # 22,000 draws: 3.4 deviations
    assert 0.3 < np.mean(values[:, 1:] != values[:, :-1]) < 0.45  # 2 x 0.75 x 0.25


def test_all_parameters_start_uniform_between_the_scales():
    network = lstm.lstm_language_model(500, hidden_size=50, num_layers=2, init_scale=0.04)
    params = network.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32),
                          lstm.initial_state(1, 2, 50), False)
    flat = {f"{module}/{name}": x for module, name, x in hk.data_structures.traverse(params)}
    assert sum(x.size for x in flat.values()) == 500 * 50 + 2 * (2 * 50 + 1) * 200 + 51 * 500
    for x in flat.values():
        assert 0.038 < np.max(np.abs(x)) <= 0.04
        assert np.std(x) == pytest.approx(0.04 / np.sqrt(3), rel=0.1)
