"""A language model of stacked LSTMs (Zaremba, Sutskever & Vinyals 2014, arXiv 1409.2329)."""

import haiku as hk
import jax
import jax.numpy as jnp


class _Layer(hk.Module):
    """One LSTM over a whole sequence.

        i, g, f, o = split(x_t W_x + h_{t-1} W_h + b)
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g);  h_t = sigmoid(o) tanh(c_t)

    These are the equations of `hk.LSTM` and its order of the gates, but for the 1 that it adds to
    f: here the forget gate starts at a half, as in the paper. The products with the inputs are
    taken for all steps at once, outside the loop.
    """

    def __init__(self, hidden_size: int, init: hk.initializers.Initializer, name: str = "lstm"):
        super().__init__(name=name)
        self.hidden_size = hidden_size
        self.init = init

    def __call__(self, inputs: jax.Array, state: hk.LSTMState) -> tuple[jax.Array, hk.LSTMState]:
        """inputs [N, T, D] and state [N, H] to outputs [N, T, H] and the last state."""
        size = self.hidden_size
        projected = hk.Linear(4 * size, w_init=self.init, b_init=self.init, name="input")(inputs)
        w_hidden = hk.get_parameter("w_hidden", (size, 4 * size), inputs.dtype, self.init)

        def step(state, projected):
            i, g, f, o = jnp.split(projected + state.hidden @ w_hidden, 4, axis=-1)
            cell = jax.nn.sigmoid(f) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
            return hk.LSTMState(hidden, cell), hidden

        state, outputs = jax.lax.scan(step, state, jnp.swapaxes(projected, 0, 1))
        return jnp.swapaxes(outputs, 0, 1), state


def lstm_language_model(
    vocabulary_size: int,
    *,
    hidden_size: int,
    num_layers: int,
    dropout_rate: float = 0.0,
    init_scale: float = 0.1,
    tied_embedding: bool = False,
) -> hk.Transformed:
    """Embedding, LSTM layers and a linear decoder.

    Dropout is applied to the inputs of every layer and of the decoder, anew at every step, and
    never to what goes from step to step.

    Args:
      vocabulary_size: V.
      hidden_size: H, of the embedding and of every layer.
      num_layers: L.
      dropout_rate: probability that an activation is dropped in training, below 1.
      init_scale: all parameters, biases included, start uniform in (-init_scale, init_scale).
      tied_embedding: the decoder's weights are the embedding, transposed; its bias is its own.

    Returns:
      A function of (tokens int32 [N, T], state, is_training) that returns the logits of the next
      tokens [N, T, V] and the state after the last one. A state is an `hk.LSTMState` of two arrays
      [N, L, H], see `initial_state`.
    """
    init = hk.initializers.RandomUniform(-init_scale, init_scale)

    def forward(tokens, state, is_training):
        def drop(x):
            if not (is_training and dropout_rate):
                return x
            return hk.dropout(hk.next_rng_key(), dropout_rate, x)

        embedding = hk.Embed(vocabulary_size, hidden_size, w_init=init, name="embedding")
        x = embedding(tokens)
        states = []
        for number in range(num_layers):
            layer = _Layer(hidden_size, init)
            x, last = layer(drop(x), jax.tree.map(lambda s, n=number: s[:, n], state))
            states.append(last)
        x = drop(x)
        if tied_embedding:
            bias = hk.Bias(b_init=init, bias_dims=[-1], name="decoder")
            logits = bias(x @ embedding.embeddings.T)
        else:
            logits = hk.Linear(vocabulary_size, w_init=init, b_init=init, name="decoder")(x)
        return logits, jax.tree.map(lambda *layers: jnp.stack(layers, axis=1), *states)

    return hk.transform(forward)


def initial_state(batch_size: int, num_layers: int, hidden_size: int) -> hk.LSTMState:
    """The state before the first token: zeros, float32 [batch_size, num_layers, hidden_size]."""
    zeros = jnp.zeros((batch_size, num_layers, hidden_size), jnp.float32)
    return hk.LSTMState(hidden=zeros, cell=zeros)
