"""The residual blocks: normalizer-free, SkipInit, FixUp and batch-normalized.

Semantics follow the authors' released code of arXiv 2101.08692. A block's `BlockPlan` says where
it stands in the network; its other arguments are shared by all blocks.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets_jax.nets.activations import Activation
from nfnets_jax.nets.conv import Conv2D
from nfnets_jax.nets.layers import SqueezeExcite, StochasticDepth, tag
from nfnets_jax.nets.weight_standardization import WSConv2D

ConvMaker = Callable[..., hk.Module]
Norm = Callable[..., jax.Array]


class BlockPlan(NamedTuple):
    """Place of one residual block in a network.

    Attributes:
      index: of the block in the network, from 0.
      stage: of the block, from 0.
      channels: of the output.
      stride: of the block.
      is_transition: whether the shortcut is a convolution (the stride or the width changes).
    """

    index: int
    stage: int
    channels: int
    stride: int
    is_transition: bool


def plan_blocks(
    stem_width: int, widths: Sequence[int], depths: Sequence[int], strides: Sequence[int]
) -> list[BlockPlan]:
    """Lists the blocks of a network whose stages have these widths, depths and strides."""
    plan = []
    channels = stem_width
    for stage, (width, depth, stage_stride) in enumerate(zip(widths, depths, strides, strict=True)):
        for i in range(depth):
            stride = stage_stride if i == 0 else 1
            is_transition = stride > 1 or channels != width
            plan.append(BlockPlan(len(plan), stage, width, stride, is_transition))
            channels = width
    return plan


def expected_variances(plan: Sequence[BlockPlan], alpha: float) -> list[float]:
    """Analytic variance of a normalizer-free network's signal, with skip_gain = 1.

    v_0 = 1; v_{l+1} = v_l + alpha^2, and 1 + alpha^2 after a transition block, whose shortcut
    starts from the scaled activation (arXiv 2101.08692, section 3).

    Returns:
      The variance at the input of each block, then at the output of the last one.
    """
    variances = [1.0]
    for block in plan:
        variances.append((1.0 if block.is_transition else variances[-1]) + alpha**2)
    return variances


class _Kernel(NamedTuple):
    channels: int
    kernel_size: int
    stride: int


def branch_kernels(channels: int, stride: int, bottleneck: bool) -> list[_Kernel]:
    """Lists the convolutions of a branch: 1x1, 3x3, 1x1 (bottleneck), or two 3x3 (basic)."""
    if bottleneck:
        mid = channels // 4
        return [_Kernel(mid, 1, 1), _Kernel(mid, 3, stride), _Kernel(channels, 1, 1)]
    return [_Kernel(channels, 3, stride), _Kernel(channels, 3, 1)]


class PreActivationBlock(hk.Module):
    """x_{l+1} = s(x_l) + alpha g f(h),  h = act(norm(x_l)) / expected_std.

    The branch f is conv0, then act and conv for each further convolution. The shortcut s is x_l
    itself, or, in a transition block, a strided 1x1 convolution of h. With scaled weight
    standardization, scaled activations, no norm and a trained scalar g (`skip_gain`) this is the
    normalizer-free block (arXiv 2101.08692, section 3); with plain layers, alpha = 1 and
    expected_std = 1 the SkipInit block (arXiv 2002.10444); with a norm and no g ResNetV2's.
    """

    def __init__(
        self,
        plan: BlockPlan,
        bottleneck: bool,
        activation: Activation,
        make_conv: ConvMaker,
        stochastic_depth_rate: float,
        scale_by_keep: bool,
        norm: Norm | None = None,
        alpha: float = 1.0,
        expected_std: float = 1.0,
        skip_gain_init: float | None = None,
        se_ratio: float | None = None,
        se_multiplier: float = 1.0,
        name: str | None = None,
    ):
        """Sets the hyperparameters.

        Args:
          plan: place of the block in the network.
          bottleneck: whether the branch is 1x1, 3x3, 1x1; two 3x3 otherwise.
          activation: applied before each convolution.
          make_conv: called as `make_conv(channels, kernel_size, stride, name=...)`.
          stochastic_depth_rate: probability with which an example's branch is dropped.
          scale_by_keep: whether kept branches are divided by the probability of keeping.
          norm: called as `norm(inputs, is_training, name=...)` before each activation, or None.
          alpha: fixed scale of the branch.
          expected_std: fixed standard deviation that the activated input is divided by.
          skip_gain_init: initial value of the branch's trained scalar; None for no such scalar.
          se_ratio: width of the squeeze-and-excite layer at the end of the branch; None for none.
          se_multiplier: of the squeeze-and-excite gate.
          name: of the module.
        """
        super().__init__(name=name)
        self.plan = plan
        self.bottleneck = bottleneck
        self.activation = activation
        self.make_conv = make_conv
        self.norm = norm
        self.alpha = alpha
        self.expected_std = expected_std
        self.skip_gain_init = skip_gain_init
        self.se_ratio = se_ratio
        self.se_multiplier = se_multiplier
        self.stochastic_depth_rate = stochastic_depth_rate
        self.scale_by_keep = scale_by_keep

    def __call__(self, x: jax.Array, is_training: bool) -> jax.Array:
        """Maps [N, H, W, C] to [N, ceil(H / stride), ceil(W / stride), channels], same dtype."""

        def activate(value, i):
            if self.norm is not None:
                value = self.norm(value, is_training, name=f"bn{i}")
            return self.activation(value)

        channels, stride = self.plan.channels, self.plan.stride
        h = activate(x, 0) * (1.0 / self.expected_std)
        shortcut = x
        if self.plan.is_transition:
            shortcut = self.make_conv(channels, 1, stride, name="conv_shortcut")(h)
        out = h
        for i, kernel in enumerate(branch_kernels(channels, stride, self.bottleneck)):
            if i > 0:
                out = activate(out, i)
            out = self.make_conv(*kernel, name=f"conv{i}")(out)
        if self.se_ratio is not None:
            gate = SqueezeExcite(self.se_ratio, name="squeeze_excite")(out)
            out = self.se_multiplier * gate * out
        out = tag("residual_branch", out)
        out = StochasticDepth(self.stochastic_depth_rate, self.scale_by_keep)(out, is_training)
        if self.skip_gain_init is not None:
            init = hk.initializers.Constant(self.skip_gain_init)
            skip_gain = hk.get_parameter("skip_gain", (), jnp.float32, init=init)
            out = out * skip_gain.astype(out.dtype)
        return tag("block_output", self.alpha * out + shortcut)


class FixUpBlock(hk.Module):
    """act(s(x + bias1a) + scale f(x + bias1a) + bias): FixUp's block (arXiv 1901.09321).

    Every convolution has a scalar bias before and after it, initially 0; a scalar multiplier,
    initially 1, follows the last one, whose weights start as 0. The m - 1 other convolutions of
    the branch start as N(0, 2 / fan_out) scaled by num_blocks^(-1 / (2m - 2)).
    """

    def __init__(
        self,
        plan: BlockPlan,
        num_blocks: int,
        bottleneck: bool,
        activation: Activation,
        stochastic_depth_rate: float,
        scale_by_keep: bool,
        name: str | None = None,
    ):
        """Sets the hyperparameters.

        Args:
          plan: place of the block in the network.
          num_blocks: of the network, L in FixUp's scaling rule.
          bottleneck: whether the branch is 1x1, 3x3, 1x1; two 3x3 otherwise.
          activation: applied between convolutions and after the addition.
          stochastic_depth_rate: probability with which an example's branch is dropped.
          scale_by_keep: whether kept branches are divided by the probability of keeping.
          name: of the module.
        """
        super().__init__(name=name)
        self.plan = plan
        self.num_blocks = num_blocks
        self.bottleneck = bottleneck
        self.activation = activation
        self.stochastic_depth_rate = stochastic_depth_rate
        self.scale_by_keep = scale_by_keep

    def __call__(self, x: jax.Array, is_training: bool) -> jax.Array:
        """Maps [N, H, W, C] to [N, ceil(H / stride), ceil(W / stride), channels], same dtype."""

        def scalar(name, init=jnp.zeros):
            return hk.get_parameter(name, (), jnp.float32, init=init).astype(x.dtype)

        channels, stride = self.plan.channels, self.plan.stride
        kernels = branch_kernels(channels, stride, self.bottleneck)
        num_convs = len(kernels)
        out = x + scalar("bias1a")
        shortcut = out
        if self.plan.is_transition:
            w_init = hk.initializers.RandomNormal((2.0 / channels) ** 0.5)
            shortcut = Conv2D(channels, 1, stride, w_init=w_init, name="conv_shortcut")(out)
        for i, kernel in enumerate(kernels):
            is_last = i == num_convs - 1
            fan_out = kernel.channels * kernel.kernel_size**2
            stddev = (2.0 / fan_out) ** 0.5 * self.num_blocks ** (-1.0 / (2 * num_convs - 2))
            w_init = hk.initializers.RandomNormal(0.0 if is_last else stddev)
            if i > 0:
                out = out + scalar(f"bias{i + 1}a")
            out = Conv2D(*kernel, w_init=w_init, name=f"conv{i}")(out)
            if is_last:
                out = out * scalar("scale", jnp.ones) + scalar(f"bias{i + 1}b")
            else:
                out = self.activation(out + scalar(f"bias{i + 1}b"))
        out = tag("residual_branch", out)
        out = StochasticDepth(self.stochastic_depth_rate, self.scale_by_keep)(out, is_training)
        return tag("block_output", self.activation(out + shortcut))


def make_plain_conv(with_bias: bool, weight_init: str) -> ConvMaker:
    """Returns the maker of convolutions without weight standardization."""

    def make_conv(channels: int, kernel_size: int, stride: int, name: str) -> hk.Module:
        return Conv2D(
            channels, kernel_size, stride, with_bias=with_bias, w_init=weight_init, name=name
        )

    return make_conv


def make_ws_conv(channels: int, kernel_size: int, stride: int, name: str) -> hk.Module:
    """Makes a convolution with scaled weight standardization."""
    return WSConv2D(channels, kernel_size, stride, name=name)
