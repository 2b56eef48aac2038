"""Fully connected autoencoders."""

import math
from collections.abc import Callable, Sequence

import haiku as hk
import jax
import jax.numpy as jnp

# The nonlinearities, and the factor of the initial weights that feed them: 4 is what Glorot and
# Bengio (2010) recommend for the logistic function, whose slope at 0 is 1/4.
ACTIVATIONS: dict[str, tuple[Callable[[jax.Array], jax.Array], float]] = {
    "relu": (jax.nn.relu, 1.0),
    "sigmoid": (jax.nn.sigmoid, 4.0),
    "tanh": (jnp.tanh, 1.0),
}


class Autoencoder(hk.Module):
    """Maps inputs to a code and back, through layers of given widths and the same in reverse.

    The last layer is linear. Untied, the code is linear too and the decoder has weights of its own:
    the deep autoencoders of Hinton and Salakhutdinov (2006), a benchmark of optimizers since
    Martens (2010) (recalled; the initial weights are our choice). Tied, the decoder's matrices are
    the encoder's, transposed, and the code passes through the nonlinearity as every other layer:
    the networks of arXiv 1807.06766 (recalled). Weights start as Glorot's, U(+-f sqrt(6 / (fan_in +
    fan_out))) with the factor f of `ACTIVATIONS`, biases as 0.
    """

    def __init__(self, widths: Sequence[int], activation: str, tied: bool,
                 name: str = "autoencoder"):
        """Sets the hyperparameters.

        Args:
          widths: of the encoder's layers, that of the code last.
          activation: a key of `ACTIVATIONS`.
          tied: whether the decoder uses the encoder's matrices.
          name: of the module.
        """
        super().__init__(name=name)
        self.widths = tuple(widths)
        self.activation = activation
        self.tied = tied

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps [N, D] to [N, D]."""
        function, factor = ACTIVATIONS[self.activation]
        sizes = (inputs.shape[-1], *self.widths)
        x, matrices = inputs, []

        def weights(name, fan_in, fan_out, is_linear):
            bound = (1.0 if is_linear else factor) * math.sqrt(6 / (fan_in + fan_out))
            return hk.get_parameter(name, (fan_in, fan_out),
                                    init=hk.initializers.RandomUniform(-bound, bound))

        def bias(name, size):
            return hk.get_parameter(name, (size,), init=jnp.zeros)

        depth = len(self.widths)
        for i in range(depth):
            is_linear = i == depth - 1 and not self.tied
            matrices.append(weights(f"encoder_w{i}", sizes[i], sizes[i + 1], is_linear))
            x = x @ matrices[i] + bias(f"encoder_bias{i}", sizes[i + 1])
            x = x if is_linear else function(x)
        for i in reversed(range(depth)):
            w = (matrices[i].T if self.tied
                 else weights(f"decoder_w{i}", sizes[i + 1], sizes[i], i == 0))
            x = x @ w + bias(f"decoder_bias{i}", sizes[i])
            x = x if i == 0 else function(x)
        return x


def create_autoencoder(widths: Sequence[int], activation: str, tied: bool) -> hk.Transformed:
    """An `Autoencoder` as a function of inputs [N, D]."""
    return hk.without_apply_rng(hk.transform(
        lambda inputs: Autoencoder(widths, activation, tied)(inputs)))
