"""Residual networks with normalizer-free, SkipInit, FixUp, normalized or plain blocks."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets_jax.nets import blocks
from nfnets_jax.nets.activations import activation as find_activation
from nfnets_jax.nets.activations import gamma
from nfnets_jax.nets.branches import BlockPlan, expected_variances
from nfnets_jax.nets.conv import max_pool, symmetric_padding
from nfnets_jax.nets.layers import EfficientChannelAttention, SqueezeExcite, check_images, tag
from nfnets_jax.nets.normalization import make_norm
from nfnets_jax.nets.scan import apply_scanned


class ResNet(hk.Module):
    """Stem, stages of residual blocks, activation, mean pool, dropout and linear classifier.

    Parameters are float32; each layer computes in the dtype of its input, except weight
    standardization, batch statistics, gates, pooled features and logits, which are float32.
    """

    def __init__(
        self,
        num_classes: int | None,
        block: str,
        plan: Sequence[BlockPlan],
        stem: str,
        stem_width: int,
        head_width: int,
        activation: str,
        dropout_rate: float,
        stochastic_depth_rate: float,
        scale_by_keep: bool,
        classifier_init_std: float,
        scan_blocks: bool,
        remat_blocks: bool,
        block_arguments: Mapping[str, Any],
        name: str,
    ):
        """Sets the hyperparameters.

        Args:
          num_classes: number of logits; None for a network that ends in its features.
          block: 'nf', 'skipinit', 'sqrt2', 'fixup', 'bn', 'bn_v1' or 'plain'.
          plan: the blocks in order.
          stem: a key of `STEM_STRIDES`.
          stem_width: output channels of the stem.
          head_width: channels of a 1x1 convolution after the last block; 0 for none.
          activation: a name from `activation_names()`.
          dropout_rate: of the pooled features.
          stochastic_depth_rate: block i of L drops its branch with probability rate * i / L.
          scale_by_keep: whether kept branches are divided by the probability of keeping.
          classifier_init_std: standard deviation of the initial classifier weights; 0 for zeros.
          scan_blocks: whether identical blocks are compiled once; see `scan.apply_scanned`.
          remat_blocks: whether a block keeps only its input for the backward pass and computes the
            rest again (`jax.checkpoint`), which saves memory for a third more work.
          block_arguments: the arguments of one kind of block; see `nfnets_jax.nets.defaults`.
          name: of the module.
        """
        super().__init__(name=name)
        own = block_arguments
        self.num_classes = num_classes
        self.block = block
        self.plan = plan
        self.stem = stem
        self.stem_width = stem_width
        self.head_width = head_width
        self.dropout_rate = dropout_rate
        self.stochastic_depth_rate = stochastic_depth_rate
        self.scale_by_keep = scale_by_keep
        self.classifier_init_std = classifier_init_std
        self.scan_blocks = scan_blocks
        self.remat_blocks = remat_blocks
        self.padding = own.get("padding", "same")
        self.norm = None
        self.norm_order = own.get("norm_order", "norm_act")
        self.variances = None
        # Plain layers with He's initialization are the control of arXiv 2101.08692, figure 2;
        # that initialization already accounts for an unscaled ReLU.
        standardized = block == "nf" and own["weight_standardization"]
        gamma_in_activation = standardized and own["gamma_in"] == "activation"
        self.activation = find_activation(activation, scaled=gamma_in_activation)
        self.make_block = functools.partial(
            blocks.PreActivationBlock, activation=self.activation, scale_by_keep=scale_by_keep)
        if block == "nf":
            self.make_conv = blocks.make_plain_conv(True, "he")
            if standardized:
                self.make_conv = blocks.make_ws_conv(
                    padding=self.padding, eps_mode=own["eps_mode"], eps=own["eps"],
                    gamma=1.0 if gamma_in_activation else gamma(activation))
            self.make_stem_conv = self.make_conv
            self.variances = expected_variances(plan, own["alpha"])
            self.make_block = functools.partial(
                self.make_block, make_conv=self.make_conv, alpha=own["alpha"],
                skip_gain_init=own["skip_gain_init"] if own["use_skip_gain"] else None,
                shortcut=own["shortcut"], gate_multiplier=2.0, **_gate_arguments(own))
        elif block in ("bn", "bn_v1"):
            self.make_conv = blocks.make_plain_conv(False, own["weight_init"])
            if own["weight_standardization"]:
                self.make_conv = blocks.make_ws_conv(with_gain=False, with_bias=False)
            self.make_stem_conv = self.make_conv
            self.norm = make_norm(
                own["norm"], num_groups=own["num_groups"], ghost_size=own["ghost_size"],
                decay_rate=own["bn_decay_rate"], eps=own["bn_eps"],
                cross_replica_axis=own["cross_replica_axis"])
            self.make_block = functools.partial(
                self.make_block, make_conv=self.make_conv, norm=self.norm,
                norm_order=self.norm_order, use_skip=own.get("use_skip", True),
                **_gate_arguments(own))
            if block == "bn_v1":
                self.make_block = functools.partial(
                    blocks.PostActivationBlock, activation=self.activation,
                    scale_by_keep=scale_by_keep, make_conv=self.make_conv, norm=self.norm,
                    se_ratio=own["se_ratio"] if own["use_se"] else None,
                    last_scale_init=own["last_scale_init"],
                    use_projection=own["use_projection"])
        elif block == "fixup":
            self.make_stem_conv = blocks.make_plain_conv(False, "lecun")
            self.make_block = functools.partial(
                blocks.FixUpBlock, num_blocks=len(plan), activation=self.activation,
                scale_by_keep=scale_by_keep)
        elif block in ("skipinit", "sqrt2", "plain"):
            self.make_stem_conv = blocks.make_plain_conv(own["stem_bias"], own["weight_init"])
            self.make_conv = blocks.make_plain_conv(own["conv_bias"], own["weight_init"])
            self.make_block = functools.partial(
                self.make_block, make_conv=self.make_conv,
                skip_gain_init=own.get("skip_gain_init"), use_skip=own.get("use_skip", True),
                output_scale=2**-0.5 if block == "sqrt2" else 1.0)
        else:
            raise ValueError(f"block={block!r} is unknown; allowed: nf, skipinit, sqrt2, fixup, "
                             "bn, bn_v1, plain")

    def __call__(self, images: jax.Array, is_training: bool) -> dict[str, jax.Array]:
        """Classifies images.

        Args:
          images: float [N, H, W, C].
          is_training: whether dropout and stochastic depth act, and batch statistics are used.

        Returns:
          logits: float32 [N, num_classes]; absent without classes.
          features: float32 [N, F], the pooled features before dropout.

        Raises:
          ValueError: if the images are not a floating-point array of rank 4.
        """
        check_images(images)
        x = self._apply_blocks(self._apply_stem(images, is_training), is_training)
        if self.head_width:
            x = self.make_conv(self.head_width, 1, 1, 1, name="final_conv")(x)
        x = self._activate_last(x, is_training)
        features = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        if self.num_classes is None:
            return dict(features=features)
        pooled = features
        if is_training and self.dropout_rate > 0.0:
            pooled = hk.dropout(hk.next_rng_key(), self.dropout_rate, pooled)
        if self.block == "fixup":
            pooled = pooled + hk.get_parameter("bias2", (), jnp.float32, init=jnp.zeros)
        w_init = hk.initializers.RandomNormal(self.classifier_init_std)
        logits = hk.Linear(self.num_classes, w_init=w_init, name="classifier")(pooled)
        return dict(logits=logits, features=features)

    @hk.transparent  # keeps the module paths free of the method's name
    def _apply_stem(self, images: jax.Array, is_training: bool) -> jax.Array:
        width = self.stem_width
        if self.stem == "nfnet":
            x = images
            for i, (share, stride) in enumerate(zip((8, 4, 2, 1), (2, 1, 1, 2), strict=True)):
                x = x if i == 0 else self.activation(x)
                x = self.make_stem_conv(width // share, 3, stride, 1, name=f"stem_conv{i}")(x)
            return tag("stem", x)
        kernel_size, stride = {"imagenet": (7, 2), "regnet": (3, 2), "cifar": (3, 1)}[self.stem]
        x = self.make_stem_conv(width, kernel_size, stride, 1, name="initial_conv")(images)
        if self.block == "fixup":
            bias = hk.get_parameter("bias1", (), jnp.float32, init=jnp.zeros)
            x = self.activation(x + bias.astype(x.dtype))
        if self.block == "bn_v1":
            x = self.activation(self.norm(x, is_training, name="initial_bn"))
        if self.stem == "imagenet":
            padding = "SAME"
            if self.padding == "symmetric":
                padding, border = "VALID", symmetric_padding(3, 2)
                x = jnp.pad(x, ((0, 0), *border, (0, 0)), constant_values=-jnp.inf)
            x = max_pool(x, 3, 2, padding)
        return tag("stem", x)

    @hk.transparent
    def _activate_last(self, x: jax.Array, is_training: bool) -> jax.Array:
        if self.block in ("fixup", "bn_v1"):  # their blocks end in an activation
            return x
        if self.norm is None:
            return self.activation(x)
        if self.norm_order == "act_norm":
            return self.norm(self.activation(x), is_training, name="final_bn")
        return self.activation(self.norm(x, is_training, name="final_bn"))

    @hk.transparent
    def _apply_blocks(self, x: jax.Array, is_training: bool) -> jax.Array:
        for _, run in itertools.groupby(self.plan, _kind if self.scan_blocks else _index):
            run = list(run)
            if len(run) == 1 or hk.running_init():
                for plan in run:
                    numbers = self._numbers(plan)
                    block = self.make_block(plan, name=f"block_{plan.index}", **numbers)
                    apply = functools.partial(block, is_training=is_training)
                    x = (hk.remat(apply) if self.remat_blocks else apply)(x)
            else:
                make_block, differing = self._merge(run)
                names = [f"{self.module_name}/block_{plan.index}" for plan in run]
                x = apply_scanned(make_block, names, differing, x, is_training)
        return x

    def _numbers(self, plan: BlockPlan) -> dict[str, float]:
        """What differs between the blocks of a stage."""
        numbers = dict(
            stochastic_depth_rate=self.stochastic_depth_rate * plan.index / len(self.plan))
        if self.variances is not None:
            numbers["expected_std"] = self.variances[plan.index] ** 0.5
        return numbers

    def _merge(self, run: Sequence[BlockPlan]) -> tuple[Callable, dict[str, list[float]]]:
        """Returns the maker of the blocks of a run, and the arguments that differ."""
        rows = [self._numbers(plan) for plan in run]
        differing = {name: [row[name] for row in rows] for name in rows[0]}
        if not self.stochastic_depth_rate:
            same = dict(stochastic_depth_rate=differing.pop("stochastic_depth_rate")[0])
            return functools.partial(self.make_block, run[0], **same), differing
        return functools.partial(self.make_block, run[0]), differing


def _index(plan: BlockPlan) -> int:
    return plan.index


def _kind(plan: BlockPlan) -> tuple:
    """Blocks of the same kind follow each other as identical maps."""
    alone = plan.index if plan.is_transition else None
    return plan.stage, plan.kernels, alone


def _gate_arguments(block_arguments: Mapping[str, Any]) -> dict[str, Any]:
    if block_arguments.get("use_eca"):
        return dict(gate=lambda x: EfficientChannelAttention(name="eca")(x))
    if not block_arguments["use_se"]:
        return {}

    def gate(x: jax.Array) -> jax.Array:
        hidden = block_arguments["se_ratio"] * x.shape[-1]
        if block_arguments.get("round_widths"):
            hidden = max(8, int(hidden + 4) // 8 * 8)
        return SqueezeExcite(max(1, int(hidden)), name="squeeze_excite")(x)

    return dict(gate=gate, gate_after=block_arguments.get("gate_after"))
