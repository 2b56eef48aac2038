"""The residual blocks: pre-activation (normalizer-free, SkipInit, ...), post-activation, FixUp.

Semantics follow the authors' released code of arXiv 2101.08692. A block's `BlockPlan` says where
it stands in the network; its other arguments are shared by all blocks.
"""

from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets_jax.nets.activations import Activation
from nfnets_jax.nets.branches import BlockPlan
from nfnets_jax.nets.conv import Conv2D
from nfnets_jax.nets.layers import SqueezeExcite, StochasticDepth, tag
from nfnets_jax.nets.normalization import Norm
from nfnets_jax.nets.weight_standardization import WSConv2D

ConvMaker = Callable[..., hk.Module]
Gate = Callable[[jax.Array], jax.Array]


class PreActivationBlock(hk.Module):
    """x_{l+1} = c (s(x_l) + alpha g f(h)),  h = act(norm(x_l)) / expected_std.

    The branch f is conv0, then act and conv for each further convolution. The shortcut s is x_l
    itself, or, in a transition block, a 1x1 convolution of h. With scaled weight
    standardization, scaled activations, no norm and a trained scalar g (`skip_gain`) this is the
    normalizer-free block (arXiv 2101.08692, section 3); with plain layers, alpha = 1 and
    expected_std = 1 the SkipInit block (arXiv 2002.10444), or without g and with c = 2^-1/2 its
    control that keeps the variance; with a norm and no g ResNetV2's. c is 1 but for that control.
    Without the shortcut, s = 0, plain blocks are an ordinary chain of convolutions.
    """

    def __init__(
        self,
        plan: BlockPlan,
        activation: Activation,
        make_conv: ConvMaker,
        stochastic_depth_rate: float | jax.Array,
        scale_by_keep: bool,
        norm: Norm | None = None,
        norm_order: str = "norm_act",
        alpha: float = 1.0,
        expected_std: float | jax.Array = 1.0,
        skip_gain_init: float | None = None,
        gate: Gate | None = None,
        gate_after: str | None = None,
        gate_multiplier: float = 1.0,
        shortcut: str = "conv",
        use_skip: bool = True,
        output_scale: float = 1.0,
        name: str | None = None,
    ):
        """Sets the hyperparameters.

        Args:
          plan: place of the block in the network, and its convolutions.
          activation: applied before each convolution.
          make_conv: called as `make_conv(channels, kernel_size, stride, groups, name=...)`.
          stochastic_depth_rate: probability with which an example's branch is dropped.
          scale_by_keep: whether kept branches are divided by the probability of keeping.
          norm: called as `norm(inputs, is_training, name=...)`, or None.
          norm_order: whether the norm comes before each activation ('norm_act') or after it.
          alpha: fixed scale of the branch.
          expected_std: fixed standard deviation that the activated input is divided by.
          skip_gain_init: initial value of the branch's trained scalar; None for no such scalar.
          gate: maps [N, H, W, C] to the [N, 1, 1, C] that it is multiplied by, or None.
          gate_after: name of the convolution whose output is gated; the last one if None.
          gate_multiplier: of the gate.
          shortcut: of a transition block with a stride: a strided convolution ('conv'), or 2x2
            mean pooling and then the convolution ('avg_pool').
          use_skip: whether there is a shortcut.
          output_scale: the constant c.
          name: of the module.
        """
        super().__init__(name=name)
        self.plan = plan
        self.activation = activation
        self.make_conv = make_conv
        self.norm = norm
        self.norm_order = norm_order
        self.alpha = alpha
        self.expected_std = expected_std
        self.skip_gain_init = skip_gain_init
        self.gate = gate
        self.gate_after = gate_after or plan.kernels[-1].name
        self.gate_multiplier = gate_multiplier
        self.shortcut = shortcut
        self.use_skip = use_skip
        self.output_scale = output_scale
        self.stochastic_depth_rate = stochastic_depth_rate
        self.scale_by_keep = scale_by_keep

    def __call__(self, x: jax.Array, is_training: bool) -> jax.Array:
        """Maps [N, H, W, C] to [N, ceil(H / stride), ceil(W / stride), channels], same dtype."""

        def activate(value, i):
            if self.norm is None:
                return self.activation(value)
            if self.norm_order == "act_norm":
                return self.norm(self.activation(value), is_training, name=f"bn{i}")
            return self.activation(self.norm(value, is_training, name=f"bn{i}"))

        h = activate(x, 0)
        h = h * jnp.asarray(1.0 / self.expected_std, h.dtype)
        out = h
        for i, kernel in enumerate(self.plan.kernels):
            if i > 0:
                out = activate(out, i)
            out = self.make_conv(
                kernel.channels, kernel.size, kernel.stride, kernel.groups, name=kernel.name)(out)
            if self.gate is not None and kernel.name == self.gate_after:
                out = self.gate_multiplier * self.gate(out) * out
        out = tag("residual_branch", out)
        out = StochasticDepth(self.stochastic_depth_rate, self.scale_by_keep)(out, is_training)
        if self.skip_gain_init is not None:
            init = hk.initializers.Constant(self.skip_gain_init)
            skip_gain = hk.get_parameter("skip_gain", (), jnp.float32, init=init)
            out = out * skip_gain.astype(out.dtype)
        out = self.alpha * out
        if self.use_skip:
            out = out + self._apply_shortcut(x, h)
        return tag("block_output", self.output_scale * out)

    @hk.transparent
    def _apply_shortcut(self, x: jax.Array, h: jax.Array) -> jax.Array:
        if not self.plan.is_transition:
            return x
        stride = self.plan.stride
        if self.shortcut == "avg_pool" and stride > 1:
            h = hk.avg_pool(h, (1, stride, stride, 1), (1, stride, stride, 1), "SAME")
            stride = 1
        return self.make_conv(self.plan.channels, 1, stride, 1, name="conv_shortcut")(h)


class PostActivationBlock(hk.Module):
    """act(s(x) + f(x)): the block of the first ResNets and of RegNets (arXiv 2003.13678).

    Each convolution is followed by its norm and, but for the last one, by the activation. In a
    transition block the shortcut s is a strided 1x1 convolution and a norm, or, in the first
    ResNets on CIFAR (arXiv 1512.03385, option A), every stride-th pixel with channels of zeros
    appended.
    """

    def __init__(
        self,
        plan: BlockPlan,
        activation: Activation,
        make_conv: ConvMaker,
        norm: Norm,
        stochastic_depth_rate: float,
        scale_by_keep: bool,
        se_ratio: float | None = None,
        last_scale_init: float = 1.0,
        use_projection: bool = True,
        name: str | None = None,
    ):
        """Sets the hyperparameters.

        Args:
          plan: place of the block in the network, and its convolutions.
          activation: applied after each norm and after the addition.
          make_conv: called as `make_conv(channels, kernel_size, stride, groups, name=...)`.
          norm: called as `norm(inputs, is_training, name=...)`.
          stochastic_depth_rate: probability with which an example's branch is dropped.
          scale_by_keep: whether kept branches are divided by the probability of keeping.
          se_ratio: hidden width of a squeeze-and-excite gate before the last convolution, over the
            width of the block's input as in RegNet-Y; None for no gate.
          last_scale_init: initial scale of the branch's last norm.
          use_projection: whether the shortcut of a transition block is a convolution.
          name: of the module.
        """
        super().__init__(name=name)
        self.plan = plan
        self.activation = activation
        self.make_conv = make_conv
        self.norm = norm
        self.stochastic_depth_rate = stochastic_depth_rate
        self.scale_by_keep = scale_by_keep
        self.se_ratio = se_ratio
        self.last_scale_init = last_scale_init
        self.use_projection = use_projection

    def __call__(self, x: jax.Array, is_training: bool) -> jax.Array:
        """Maps [N, H, W, C] to [N, ceil(H / stride), ceil(W / stride), channels], same dtype."""
        out = x
        for i, kernel in enumerate(self.plan.kernels):
            is_last = i == len(self.plan.kernels) - 1
            if is_last and self.se_ratio is not None:
                hidden = round(self.se_ratio * x.shape[-1])
                out = SqueezeExcite(hidden, name="squeeze_excite")(out) * out
            out = self.make_conv(
                kernel.channels, kernel.size, kernel.stride, kernel.groups, name=kernel.name)(out)
            scale_init = self.last_scale_init if is_last else 1.0
            out = self.norm(out, is_training, name=f"bn{i}", scale_init=scale_init)
            if not is_last:
                out = self.activation(out)
        out = tag("residual_branch", out)
        out = StochasticDepth(self.stochastic_depth_rate, self.scale_by_keep)(out, is_training)
        return tag("block_output", self.activation(out + self._apply_shortcut(x, is_training)))

    @hk.transparent
    def _apply_shortcut(self, x: jax.Array, is_training: bool) -> jax.Array:
        stride, channels = self.plan.stride, self.plan.channels
        if not self.plan.is_transition:
            return x
        if not self.use_projection:
            x = x[:, ::stride, ::stride, :channels]
            return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1])))
        x = self.make_conv(channels, 1, stride, 1, name="conv_shortcut")(x)
        return self.norm(x, is_training, name="bn_shortcut")


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
        activation: Activation,
        stochastic_depth_rate: float,
        scale_by_keep: bool,
        name: str | None = None,
    ):
        """Sets the hyperparameters.

        Args:
          plan: place of the block in the network, and its convolutions.
          num_blocks: of the network, L in FixUp's scaling rule.
          activation: applied between convolutions and after the addition.
          stochastic_depth_rate: probability with which an example's branch is dropped.
          scale_by_keep: whether kept branches are divided by the probability of keeping.
          name: of the module.
        """
        super().__init__(name=name)
        self.plan = plan
        self.num_blocks = num_blocks
        self.activation = activation
        self.stochastic_depth_rate = stochastic_depth_rate
        self.scale_by_keep = scale_by_keep

    def __call__(self, x: jax.Array, is_training: bool) -> jax.Array:
        """Maps [N, H, W, C] to [N, ceil(H / stride), ceil(W / stride), channels], same dtype."""

        def scalar(name, init=jnp.zeros):
            return hk.get_parameter(name, (), jnp.float32, init=init).astype(x.dtype)

        channels, stride = self.plan.channels, self.plan.stride
        num_convs = len(self.plan.kernels)
        out = x + scalar("bias1a")
        shortcut = out
        if self.plan.is_transition:
            w_init = hk.initializers.RandomNormal((2.0 / channels) ** 0.5)
            shortcut = Conv2D(channels, 1, stride, w_init=w_init, name="conv_shortcut")(out)
        for i, kernel in enumerate(self.plan.kernels):
            is_last = i == num_convs - 1
            fan_out = kernel.channels * kernel.size**2
            stddev = (2.0 / fan_out) ** 0.5 * self.num_blocks ** (-1.0 / (2 * num_convs - 2))
            w_init = hk.initializers.RandomNormal(0.0 if is_last else stddev)
            if i > 0:
                out = out + scalar(f"bias{i + 1}a")
            out = Conv2D(
                kernel.channels, kernel.size, kernel.stride, w_init=w_init, name=kernel.name)(out)
            if is_last:
                out = out * scalar("scale", jnp.ones) + scalar(f"bias{i + 1}b")
            else:
                out = self.activation(out + scalar(f"bias{i + 1}b"))
        out = tag("residual_branch", out)
        out = StochasticDepth(self.stochastic_depth_rate, self.scale_by_keep)(out, is_training)
        return tag("block_output", self.activation(out + shortcut))


def make_plain_conv(with_bias: bool, weight_init: str) -> ConvMaker:
    """Returns the maker of convolutions without weight standardization."""

    def make_conv(
        channels: int, kernel_size: int, stride: int, groups: int, name: str
    ) -> hk.Module:
        return Conv2D(channels, kernel_size, stride, groups, with_bias=with_bias,
                      w_init=weight_init, name=name)

    return make_conv


def make_ws_conv(**arguments) -> ConvMaker:
    """Returns the maker of `WSConv2D` layers that share some arguments."""

    def make_conv(
        channels: int, kernel_size: int, stride: int, groups: int, name: str
    ) -> hk.Module:
        return WSConv2D(channels, kernel_size, stride, groups, name=name, **arguments)

    return make_conv
