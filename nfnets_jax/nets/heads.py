"""Small networks on top of an encoder's features."""

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets_jax.nets.normalization import Norm, make_norm
from nfnets_jax.nets.weight_standardization import standardize


class Linear(hk.Module):
    """Linear layer, with or without weight standardization; parameters `w` and `b`.

    Parameters are float32 and the product is computed in the dtype of the input. Unless told
    otherwise the weights start as Haiku's, N(0, 1 / fan_in) truncated at two standard deviations.
    """

    def __init__(
        self, size: int, with_bias: bool, weight_standardization: bool = False,
        w_init: hk.initializers.Initializer | None = None, *, name: str,
    ):
        """Sets the hyperparameters.

        Args:
          size: number of outputs.
          with_bias: whether a bias, initially zero, is added.
          weight_standardization: whether each output's weights get mean 0 and norm 1 first; see
            `standardize`.
          w_init: initializer of the weights.
          name: of the module.
        """
        super().__init__(name=name)
        self.size = size
        self.with_bias = with_bias
        self.weight_standardization = weight_standardization
        self.w_init = w_init

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps [N, I] to [N, size], of the same dtype."""
        fan_in = inputs.shape[-1]
        w_init = self.w_init or hk.initializers.TruncatedNormal(fan_in**-0.5)
        w = hk.get_parameter("w", (fan_in, self.size), jnp.float32, init=w_init)
        if self.weight_standardization:
            w = standardize(w, jnp.ones(self.size))
        outputs = inputs @ w.astype(inputs.dtype)
        if self.with_bias:
            b = hk.get_parameter("b", (self.size,), jnp.float32, init=jnp.zeros)
            outputs += b.astype(inputs.dtype)
        return outputs


class MLP(hk.Module):
    """linear1(relu(norm(linear0(x)))): BYOL's projector and predictor (arXiv 2006.07733).

    The first linear layer has a bias, the second has none, and its output is not normalized.
    """

    def __init__(
        self, hidden_size: int, output_size: int, norm: Norm, weight_standardization: bool,
        name: str,
    ):
        """Sets the hyperparameters.

        Args:
          hidden_size: width of the hidden layer.
          output_size: width of the output.
          norm: from `make_norm`.
          weight_standardization: whether both layers' weights are standardized.
          name: of the module.
        """
        super().__init__(name=name)
        self.hidden_size = hidden_size
        self.output_size = output_size
        self.norm = norm
        self.weight_standardization = weight_standardization

    def __call__(self, inputs: jax.Array, is_training: bool) -> jax.Array:
        """Maps [N, I] to [N, output_size], of the same dtype."""
        ws = self.weight_standardization
        hidden = Linear(self.hidden_size, True, ws, name="linear0")(inputs)
        hidden = jax.nn.relu(self.norm(hidden, is_training, name="norm"))
        return Linear(self.output_size, False, ws, name="linear1")(hidden)


def create_mlp(
    *,
    hidden_size: int,
    output_size: int,
    norm: str,
    weight_standardization: bool = False,
    num_groups: int = 16,
    bn_decay_rate: float = 0.9,
    bn_eps: float = 1e-5,
    cross_replica_axis: str | None = None,
    name: str = "mlp",
) -> hk.TransformedWithState:
    """Creates an `MLP` as a function of `(inputs [N, I], is_training)`; see `make_norm`.

    Raises:
      ValueError: if the norm is unknown, or makes no sense on vectors.
    """
    if norm == "instance":
        raise ValueError(
            "norm='instance' has one number to normalize in each channel of a vector of features, "
            "and would return its offset; use 'layer' or 'group'")
    layer = make_norm(norm, num_groups=num_groups, decay_rate=bn_decay_rate, eps=bn_eps,
                      cross_replica_axis=cross_replica_axis)

    def forward(inputs: jax.Array, is_training: bool) -> jax.Array:
        return MLP(hidden_size, output_size, layer, weight_standardization, name)(
            inputs, is_training)

    return hk.transform_with_state(forward)


def with_two_logits(network: hk.TransformedWithState) -> hk.TransformedWithState:
    """The network of one logit z as a classifier of two classes, with the logits [0, z].

    Softmax cross-entropy is then the logistic loss: log(1 + exp(-z)) of class 1, log(1 + exp(z)) of
    class 0.

    Args:
      network: its result has logits [N, 1].
    """

    def apply(*args, **kwargs) -> tuple[dict[str, jax.Array], hk.State]:
        outputs, state = network.apply(*args, **kwargs)
        z = outputs["logits"]
        return {**outputs, "logits": jnp.concatenate([jnp.zeros_like(z), z], axis=-1)}, state

    return hk.TransformedWithState(network.init, apply)
