"""Scaled weight standardization (Brock et al. 2021, arXiv 2101.08692, section 4)."""

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets_jax.nets.conv import conv, symmetric_padding


def standardize(
    w: jax.Array, gain: jax.Array, eps_mode: str = "clamp", eps: float = 1e-4
) -> jax.Array:
    """Gives the incoming weights of each unit zero mean, and squared norm `gain`^2.

    W^_ij = g_i (W_ij - mu_i) / sqrt(N sigma_i^2), where mu_i and sigma_i^2 are the mean and the
    biased variance over the N = fan_in weights of output unit i. Gradients flow through both.

    Args:
      w: [..., units], e.g. an HWIO kernel [kh, kw, C_in / groups, C_out].
      gain: [units].
      eps_mode: how a vanishing variance is kept from a division by zero. 'clamp' divides by
        sqrt(max(N sigma^2, eps)), as the authors' released code does; 'add_to_variance' by
        sqrt(N (sigma^2 + eps)), as timm does (with eps 1e-5 in its models).
      eps: the constant of `eps_mode`.

    Returns:
      Standardized weights, with the shape and the dtype of `w`.

    Raises:
      ValueError: if `eps_mode` is neither of the two.
    """
    # As a matrix, because XLA on CPUs sums a [1, 1, C_in, C_out] kernel 15 times as slowly.
    matrix = w.reshape(-1, w.shape[-1])
    fan_in = matrix.shape[0]
    centered = matrix - jnp.mean(matrix, 0)
    variance = jnp.mean(jnp.square(centered), 0)
    if eps_mode == "clamp":
        norm_squared = jnp.maximum(fan_in * variance, eps)
    elif eps_mode == "add_to_variance":
        norm_squared = fan_in * (variance + eps)
    else:
        raise ValueError(f"eps_mode={eps_mode!r} is unknown; allowed: 'clamp', 'add_to_variance'")
    return (centered * (jax.lax.rsqrt(norm_squared) * gain)).reshape(w.shape)


class WSConv2D(hk.Module):
    """2-D convolution with scaled weight standardization; parameters `w`, `gain`, `bias`.

    Parameters are float32 and are standardized in float32; the convolution is computed in the
    dtype of the input. The raw weights start as N(0, 1 / fan_in), gains as 1, biases as 0.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        padding: str = "same",
        gamma: float = 1.0,
        eps_mode: str = "clamp",
        eps: float = 1e-4,
        with_gain: bool = True,
        with_bias: bool = True,
        name: str | None = None,
    ):
        """Sets the hyperparameters.

        Args:
          channels: number of output channels.
          kernel_size: height and width of the kernel.
          stride: in both directions.
          groups: number of channel groups; divides the input's and the output's channels.
          padding: 'same' as JAX and TensorFlow have it, or 'symmetric', equally many zeros on
            both sides, as PyTorch's networks have it; they differ where a stride is involved.
          gamma: fixed factor of the standardized weights; see `activations`.
          eps_mode: see `standardize`.
          eps: see `standardize`.
          with_gain: whether the norm of each unit's weights is trained; 1 otherwise.
          with_bias: whether a bias is added.
          name: of the module.
        """
        super().__init__(name=name)
        self.channels = channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.groups = groups
        self.padding = padding
        self.gamma = gamma
        self.eps_mode = eps_mode
        self.eps = eps
        self.with_gain = with_gain
        self.with_bias = with_bias

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps [N, H, W, C] to [N, ceil(H / stride), ceil(W / stride), channels], same dtype."""
        shape = (
            self.kernel_size,
            self.kernel_size,
            inputs.shape[-1] // self.groups,
            self.channels,
        )
        w_init = hk.initializers.VarianceScaling(1.0, "fan_in", "normal")
        w = hk.get_parameter("w", shape, jnp.float32, init=w_init)
        gain = jnp.ones(self.channels)
        if self.with_gain:
            gain = hk.get_parameter("gain", (self.channels,), jnp.float32, init=jnp.ones)
        kernel = standardize(w, self.gamma * gain, self.eps_mode, self.eps).astype(inputs.dtype)
        padding = "SAME"
        if self.padding == "symmetric":
            padding = symmetric_padding(self.kernel_size, self.stride)
        outputs = conv(inputs, kernel, self.stride, padding, self.groups)
        if not self.with_bias:
            return outputs
        bias = hk.get_parameter("bias", (self.channels,), jnp.float32, init=jnp.zeros)
        return outputs + bias.astype(inputs.dtype)
