"""The convolution of this library, and the plain convolution layer built on it."""

import contextlib
import contextvars
import functools
from collections.abc import Iterator, Sequence

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

    On a CPU grouped convolutions, and those of images smaller than the kernel, are written in
    another way, because XLA's own take 10 to 100 times as long there, and so are the gradients
    under `for_loops` (`python -m benchmarks.grouped_conv`).

    Args:
      inputs: float [N, H, W, C].
      kernel: [kh, kw, C / groups, C_out], of the dtype of `inputs`.
      stride: in both spatial directions.
      padding: 'SAME', 'VALID', or the (before, after) pairs of the two spatial dimensions.
      groups: number of groups that the channels are divided into.

    Returns:
      [N, H_out, W_out, C_out], of the dtype of `inputs`.
    """
    # Either way round: where the output is smaller than the kernel, the gradient's convolution is.
    is_small = any(-(-size // stride) < length > 1
                   for size, length in zip(inputs.shape[1:3], kernel.shape, strict=False))
    if groups == 1 and not is_small and not _in_loop.get():
        return _convolve(inputs, kernel, stride, padding)
    by_patches = is_small or groups > _MAX_SPLIT
    on_cpu = _convolve_by_patches if by_patches else _convolve_each_group
    return jax.lax.platform_dependent(
        inputs,
        kernel,
        cpu=lambda x, w: on_cpu(x, w, stride, padding, groups),
        default=lambda x, w: _convolve(x, w, stride, padding, groups),
    )


# Whether the convolutions that are being traced will run inside a loop of the compiled program.
_in_loop = contextvars.ContextVar("in_loop", default=False)


@contextlib.contextmanager
def for_loops() -> Iterator[None]:
    """Traces convolutions for the body of a loop.

    XLA's CPU compiler brings a convolution into the form that its fast kernels take only outside of
    loops (jax-ml/jax issue 12868): the gradient of a 3x3 kernel takes 30 times as long inside one.
    In this block gradients are written in that form, and gradients of gradients are; they have no
    forward-mode derivative.
    """
    token = _in_loop.set(True)
    try:
        yield
    finally:
        _in_loop.reset(token)


# Up to so many groups one convolution each is the fastest, above it compiles for too long.
_MAX_SPLIT = 12


def _convolve(inputs, kernel, stride, padding, groups=1):
    return jax.lax.conv_general_dilated(
        inputs,
        kernel,
        window_strides=(stride, stride),
        padding=padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _convolve_each_group(inputs, kernel, stride, padding, groups):
    convolve = _convolve_in_loop if _in_loop.get() else _convolve
    if groups == 1:
        return convolve(inputs, kernel, stride, padding)
    parts = zip(jnp.split(inputs, groups, -1), jnp.split(kernel, groups, -1), strict=True)
    return jnp.concatenate([convolve(x, w, stride, padding) for x, w in parts], -1)


def _convolve_in_loop(inputs, kernel, stride, padding):
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(
            inputs.shape[1:3], kernel.shape[:2], (stride, stride), padding)
    return _canonical(inputs, kernel, stride, tuple(map(tuple, padding)))


# A convolution and its two gradients as convolutions of NHWC with HWIO to NHWC. Each is linear in
# both arguments, and each one's gradients are the other two: so are gradients of gradients.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _canonical(inputs, kernel, stride, pads):
    return _convolve(inputs, kernel, stride, pads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _inputs_gradient(outputs_grad, kernel, stride, pads, size):
    padding = []
    for length, pixels, out, (before, _) in zip(
            kernel.shape, size, outputs_grad.shape[1:], pads, strict=False):
        dilated, start = (out - 1) * stride + 1, length - 1 - before
        padding.append((start, pixels + length - 1 - start - dilated))
    return jax.lax.conv_general_dilated(
        outputs_grad, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), (1, 1), padding,
        lhs_dilation=(stride, stride), dimension_numbers=("NHWC", "HWIO", "NHWC"))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _kernel_gradient(inputs, outputs_grad, stride, pads, kernel_size):
    padding = []
    for length, pixels, out, (before, _) in zip(
            kernel_size, inputs.shape[1:], outputs_grad.shape[1:], pads, strict=False):
        dilated = (out - 1) * stride + 1
        padding.append((before, dilated + length - 1 - pixels - before))
    return jax.lax.conv_general_dilated(
        inputs.transpose(3, 1, 2, 0), outputs_grad.transpose(1, 2, 0, 3), (1, 1), padding,
        rhs_dilation=(stride, stride), dimension_numbers=("NHWC", "HWIO", "NHWC"),
    ).transpose(1, 2, 0, 3)


def _define_gradients(function, gradients):
    """`gradients` maps (stride, pads, both arguments, cotangent) to those of the arguments."""
    function.defvjp(
        lambda a, b, stride, pads, *size: (function(a, b, stride, pads, *size), (a, b)),
        lambda stride, pads, *rest: gradients(stride, pads, *rest[-2], rest[-1]))


_define_gradients(_canonical, lambda stride, pads, inputs, kernel, grad: (
    _inputs_gradient(grad, kernel, stride, pads, inputs.shape[1:3]),
    _kernel_gradient(inputs, grad, stride, pads, kernel.shape[:2])))
_define_gradients(_inputs_gradient, lambda stride, pads, outputs, kernel, grad: (
    _canonical(grad, kernel, stride, pads),
    _kernel_gradient(grad, outputs, stride, pads, kernel.shape[:2])))
_define_gradients(_kernel_gradient, lambda stride, pads, inputs, outputs, grad: (
    _inputs_gradient(outputs, grad, stride, pads, inputs.shape[1:3]),
    _canonical(inputs, grad, stride, pads)))


def _convolve_by_patches(inputs, kernel, stride, padding, groups):
    """One matrix product for each group, of its patches [N H W, kh kw C / groups]."""
    kh, kw, group_width, channels = kernel.shape
    count, *size, _ = inputs.shape
    pads = padding
    if isinstance(padding, str):
        pads = jax.lax.padtype_to_pads(size, (kh, kw), (stride, stride), padding)
    padded = jnp.pad(inputs, ((0, 0), *pads, (0, 0)))
    height, width = ((n - k) // stride + 1
                     for n, k in zip(padded.shape[1:3], (kh, kw), strict=True))
    shifted = [
        padded[:, i:i + (height - 1) * stride + 1:stride, j:j + (width - 1) * stride + 1:stride]
        .reshape(-1, groups, group_width)
        for i in range(kh) for j in range(kw)
    ]
    patches = jnp.concatenate(shifted, -1).transpose(1, 0, 2)
    matrices = kernel.reshape(-1, groups, channels // groups).transpose(1, 0, 2)
    outputs = (patches @ matrices).transpose(1, 0, 2)
    return outputs.reshape(count, height, width, channels)


def max_pool(inputs: jax.Array, size: int, stride: int, padding: str = "SAME") -> jax.Array:
    """The largest value of each window of size x size, for each channel.

    On a CPU as comparisons of shifted images, because XLA's own gradient takes several times as
    long there. Either way the gradient goes to the first of equal values.

    Args:
      inputs: float [N, H, W, C].
      size: of the window.
      stride: in both directions.
      padding: 'SAME' or 'VALID'.
    """
    def shifted(x):
        for axis in (2, 1):
            before, after = jax.lax.padtype_to_pads(
                (x.shape[axis],), (size,), (stride,), padding)[0]
            pads = [(before, after) if i == axis else (0, 0) for i in range(4)]
            x = jnp.pad(x, pads, constant_values=-jnp.inf)
            stop = (x.shape[axis] - size) // stride * stride + 1
            parts = [jax.lax.slice_in_dim(x, i, i + stop, stride, axis) for i in range(size)]
            x = parts[0]
            for part in parts[1:]:
                x = jnp.where(x >= part, x, part)
        return x

    return jax.lax.platform_dependent(
        inputs, cpu=shifted,
        default=lambda x: hk.max_pool(
            x, (1, size, size, 1), (1, stride, stride, 1), padding))


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
