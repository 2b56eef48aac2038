"""The convolution of this library, and the plain convolution layer built on it."""

from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp

# Variance of the standard normal distribution truncated to [-2, 2]. Haiku's default convolution
# weights have this variance divided by fan_in, not 1 / fan_in.
TRUNCATED_NORMAL_VARIANCE = 0.7737413035499232

# Name of a weight initialization -> variance of the weights times fan_in.
INITIALIZATION_GAINS = {"lecun": TRUNCATED_NORMAL_VARIANCE, "he": 2.0}


def conv(
    inputs: jax.Array,
    kernel: jax.Array,
    stride: int = 1,
    padding: str | Sequence[tuple[int, int]] = "SAME",
    groups: int = 1,
) -> jax.Array:
    """Convolves images with a kernel; every convolution of this library goes through here.

    Args:
      inputs: float [N, H, W, C].
      kernel: [kh, kw, C / groups, C_out], of the dtype of `inputs`.
      stride: in both spatial directions.
      padding: 'SAME', 'VALID', or the (before, after) pairs of the two spatial dimensions.
      groups: number of groups that the channels are divided into.

    Returns:
      [N, H_out, W_out, C_out], of the dtype of `inputs`.
    """
    return jax.lax.conv_general_dilated(
        inputs,
        kernel,
        window_strides=(stride, stride),
        padding=padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def symmetric_padding(kernel_size: int, stride: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Zeros before and after each spatial dimension, as PyTorch's networks pad."""
    border = (stride - 1 + kernel_size - 1) // 2
    return (border, border), (border, border)


def initializer(name: str, kernel_shape: Sequence[int]) -> hk.initializers.Initializer:
    """Returns the weight initializer of a convolution kernel.

    Args:
      name: 'lecun' is Haiku's default for convolutions, fan_in^-1/2 times a normal distribution
        truncated to [-2, 2] (which the authors' baselines use); 'he' is N(0, 2 / fan_in).
      kernel_shape: HWIO shape of the kernel.

    Raises:
      ValueError: for any other name.
    """
    if name == "lecun":
        fan_in = kernel_shape[0] * kernel_shape[1] * kernel_shape[2]
        return hk.initializers.TruncatedNormal(stddev=fan_in**-0.5)
    if name == "he":
        return hk.initializers.VarianceScaling(2.0, "fan_in", "normal")
    raise ValueError(f"weight_init={name!r} is unknown; allowed: {sorted(INITIALIZATION_GAINS)}")


class Conv2D(hk.Module):
    """2-D convolution without weight standardization; parameters `w` and, if asked for, `b`.

    Parameters are float32; the convolution is computed in the dtype of the input.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        with_bias: bool = False,
        w_init: str | hk.initializers.Initializer = "lecun",
        name: str | None = None,
    ):
        """Sets the hyperparameters.

        Args:
          channels: number of output channels.
          kernel_size: height and width of the kernel.
          stride: in both directions.
          groups: number of channel groups; divides the input's and the output's channels.
          with_bias: whether a bias, initially zero, is added.
          w_init: a name that `initializer` knows, or a Haiku initializer.
          name: of the module.
        """
        super().__init__(name=name)
        self.channels = channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.groups = groups
        self.with_bias = with_bias
        self.w_init = w_init

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps [N, H, W, C] to [N, ceil(H / stride), ceil(W / stride), channels], same dtype."""
        shape = (
            self.kernel_size,
            self.kernel_size,
            inputs.shape[-1] // self.groups,
            self.channels,
        )
        w_init = initializer(self.w_init, shape) if isinstance(self.w_init, str) else self.w_init
        w = hk.get_parameter("w", shape, jnp.float32, init=w_init)
        outputs = conv(inputs, w.astype(inputs.dtype), self.stride, groups=self.groups)
        if self.with_bias:
            b = hk.get_parameter("b", (self.channels,), jnp.float32, init=jnp.zeros)
            outputs += b.astype(inputs.dtype)
        return outputs
