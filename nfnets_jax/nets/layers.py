"""Small layers shared by the residual networks."""

import math

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets_jax.nets.conv import conv

TAGS = ("stem", "residual_branch", "block_output")


class Tag(hk.Module):
    """Identity without parameters or state, which `hk.intercept_methods` can see.

    `kind` is the name given to `tag`; Haiku numbers the module's own name if it is repeated.
    """

    def __init__(self, kind: str):
        super().__init__(name=kind)
        self.kind = kind

    def __call__(self, value: jax.Array) -> jax.Array:
        return value


def tag(name: str, value: jax.Array) -> jax.Array:
    """Marks a tensor for `analysis.signal_propagation.measure`, and returns it unchanged.

    Args:
      name: 'stem' (the input of the first block), 'residual_branch' (before stochastic depth and
        before any scaling of the branch) or 'block_output' (after the addition).
      value: array [..., channels].

    Raises:
      ValueError: if the name is none of these.
    """
    if name not in TAGS:
        raise ValueError(f"tag {name!r} is unknown; allowed: {', '.join(TAGS)}")
    return Tag(name)(value)


def check_images(images: jax.Array) -> None:
    """Raises a ValueError unless images are a floating-point array of rank 4."""
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            "images must be a floating-point array [N, H, W, C]; received "
            f"{images.dtype} {list(images.shape)}"
        )


class SqueezeExcite(hk.Module):
    """Gate of each channel, computed from the spatial means of all channels (arXiv 1709.01507).

    sigmoid(fc1(relu(fc0(mean_HW x)))), with ordinary Linear layers, computed in float32.
    """

    def __init__(self, hidden_channels: int, name: str | None = None):
        """Sets the hyperparameters.

        Args:
          hidden_channels: width of the hidden layer.
          name: of the module.
        """
        super().__init__(name=name)
        self.hidden_channels = hidden_channels

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps [N, H, W, C] to gates [N, 1, 1, C] in (0, 1), of the same dtype."""
        channels = inputs.shape[-1]
        pooled = jnp.mean(inputs.astype(jnp.float32), axis=(1, 2))
        hidden = jax.nn.relu(hk.Linear(self.hidden_channels, name="fc0")(pooled))
        gate = jax.nn.sigmoid(hk.Linear(channels, name="fc1")(hidden))
        return gate[:, None, None, :].astype(inputs.dtype)


class EfficientChannelAttention(hk.Module):
    """Gate of each channel, computed from its neighbours' spatial means (arXiv 1910.03151).

    sigmoid(conv1d(mean_HW x)) along the channels, without a bias; the parameter `w` is
    [kernel_size, 1, 1]. The size of the kernel follows the number of channels C (section 3.2):
    the odd number at or above (log2(C) + 1) / 2, at least 3. Computed in float32.
    """

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps [N, H, W, C] to gates [N, 1, 1, C] in (0, 1), of the same dtype."""
        size = max(3, int((math.log2(inputs.shape[-1]) + 1) / 2) // 2 * 2 + 1)
        w_init = hk.initializers.VarianceScaling(1.0, "fan_in", "normal")
        w = hk.get_parameter("w", (size, 1, 1), jnp.float32, init=w_init)
        pooled = jnp.mean(inputs.astype(jnp.float32), axis=(1, 2))
        border = (size - 1) // 2
        scores = conv(pooled[:, :, None, None], w[:, None], padding=((border, border), (0, 0)))
        return jax.nn.sigmoid(scores[:, :, 0, 0])[:, None, None, :].astype(inputs.dtype)


class StochasticDepth(hk.Module):
    """Zeroes the residual branch of each example with probability `rate` (arXiv 1603.09382)."""

    def __init__(
        self, rate: float | jax.Array, scale_by_keep: bool = False, name: str | None = None
    ):
        """Sets the hyperparameters.

        Args:
          rate: probability of a drop.
          scale_by_keep: whether kept branches are divided by 1 - rate. The authors' networks do
            not rescale, neither in training nor at test time.
          name: of the module.
        """
        super().__init__(name=name)
        self.rate = rate
        self.scale_by_keep = scale_by_keep

    def __call__(self, inputs: jax.Array, is_training: bool) -> jax.Array:
        """Maps [N, ...] to the same shape and dtype; the identity unless training."""
        if not is_training or (isinstance(self.rate, float) and self.rate == 0.0):
            return inputs
        keep_rate = 1.0 - self.rate
        shape = (inputs.shape[0],) + (1,) * (inputs.ndim - 1)
        keep = jax.random.bernoulli(hk.next_rng_key(), keep_rate, shape)
        factor = jnp.where(keep, 1.0 / keep_rate if self.scale_by_keep else 1.0, 0.0)
        return inputs * factor.astype(inputs.dtype)
