"""Residual networks with normalizer-free, SkipInit, FixUp or batch-normalized blocks."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets_jax.nets import blocks
from nfnets_jax.nets.activations import activation as find_activation
from nfnets_jax.nets.layers import batch_norm, tag


class ResNet(hk.Module):
    """Stem, stages of residual blocks, activation, mean pool, dropout and linear classifier.

    Parameters are float32; each layer computes in the dtype of its input, except weight
    standardization, batch statistics, squeeze-and-excite gates, pooled features and logits,
    which are float32.
    """

    def __init__(
        self,
        num_classes: int,
        block: str,
        widths: Sequence[int],
        depths: Sequence[int],
        strides: Sequence[int],
        stem: str,
        stem_width: int,
        bottleneck: bool,
        activation: str,
        dropout_rate: float,
        stochastic_depth_rate: float,
        scale_by_keep: bool,
        classifier_init_std: float,
        block_arguments: Mapping[str, Any],
        name: str | None = None,
    ):
        """Sets the hyperparameters.

        Args:
          num_classes: number of logits.
          block: 'nf', 'skipinit', 'fixup' or 'bn'.
          widths: output channels of the blocks of each stage.
          depths: number of blocks of each stage.
          strides: stride of the first block of each stage.
          stem: 'imagenet' (7x7 convolution of stride 2 and 3x3 max-pool of stride 2) or 'cifar'
            (3x3 convolution of stride 1).
          stem_width: output channels of the stem.
          bottleneck: whether a branch is 1x1, 3x3, 1x1; two 3x3 otherwise.
          activation: a name from `activation_names()`. Block 'nf' multiplies it by its gamma.
          dropout_rate: of the pooled features.
          stochastic_depth_rate: block i of L drops its branch with probability rate * i / L.
          scale_by_keep: whether kept branches are divided by the probability of keeping.
          classifier_init_std: standard deviation of the initial classifier weights; 0 for zeros.
          block_arguments: the arguments of one kind of block; see `nfnets_jax.nets.defaults`.
            nf: alpha, skip_gain_init, use_se, se_ratio, weight_standardization. skipinit:
            skip_gain_init, conv_bias, stem_bias, weight_init. bn: use_se, se_ratio, weight_init,
            bn_decay_rate, bn_eps, cross_replica_axis. fixup: none.
          name: of the module; by default 'nf_resnet', 'skipinit_resnet' and so on.
        """
        super().__init__(name=name or f"{block}_resnet")
        self.num_classes = num_classes
        self.block = block
        self.plan = blocks.plan_blocks(stem_width, widths, depths, strides)
        self.stem = stem
        self.stem_width = stem_width
        self.dropout_rate = dropout_rate
        self.classifier_init_std = classifier_init_std
        self.norm = None
        # Plain layers with He's initialization are the control of arXiv 2101.08692, figure 2;
        # that initialization already accounts for an unscaled ReLU.
        standardized = block == "nf" and block_arguments["weight_standardization"]
        self.activation = find_activation(activation, scaled=standardized)
        se_ratio = block_arguments["se_ratio"] if block_arguments.get("use_se") else None
        weight_init = block_arguments.get("weight_init", "lecun")
        self.make_stem_conv = blocks.make_plain_conv(False, weight_init)
        if block == "nf":
            make_conv = blocks.make_plain_conv(True, "he")
            if standardized:
                make_conv = blocks.make_ws_conv
            self.make_stem_conv = make_conv
            make_block = functools.partial(
                blocks.PreActivationBlock,
                make_conv=make_conv,
                alpha=block_arguments["alpha"],
                skip_gain_init=block_arguments["skip_gain_init"],
                se_ratio=se_ratio,
                se_multiplier=2.0,
            )
        elif block == "skipinit":
            self.make_stem_conv = blocks.make_plain_conv(block_arguments["stem_bias"], weight_init)
            make_block = functools.partial(
                blocks.PreActivationBlock,
                make_conv=blocks.make_plain_conv(block_arguments["conv_bias"], weight_init),
                skip_gain_init=block_arguments["skip_gain_init"],
            )
        elif block == "bn":
            self.norm = functools.partial(
                batch_norm,
                decay_rate=block_arguments["bn_decay_rate"],
                eps=block_arguments["bn_eps"],
                cross_replica_axis=block_arguments["cross_replica_axis"],
            )
            make_block = functools.partial(
                blocks.PreActivationBlock,
                make_conv=self.make_stem_conv,
                norm=self.norm,
                se_ratio=se_ratio,
            )
        elif block == "fixup":
            make_block = functools.partial(blocks.FixUpBlock, num_blocks=len(self.plan))
        else:
            raise ValueError(f"block={block!r} is unknown; allowed: nf, skipinit, fixup, bn")

        self.block_makers = []
        variances = blocks.expected_variances(self.plan, block_arguments.get("alpha", 0.0))
        for plan, variance in zip(self.plan, variances[:-1], strict=True):
            rate = stochastic_depth_rate * plan.index / len(self.plan)
            arguments = dict(
                plan=plan,
                bottleneck=bottleneck,
                activation=self.activation,
                stochastic_depth_rate=rate,
                scale_by_keep=scale_by_keep,
                name=f"block_{plan.index}",
            )
            if block == "nf":
                arguments["expected_std"] = variance**0.5
            self.block_makers.append(functools.partial(make_block, **arguments))

    def __call__(self, images: jax.Array, is_training: bool) -> dict[str, jax.Array]:
        """Classifies images.

        Args:
          images: float [N, H, W, C].
          is_training: whether dropout and stochastic depth act, and batch statistics are used.

        Returns:
          logits: float32 [N, num_classes].
          features: float32 [N, F], the pooled features before dropout.

        Raises:
          ValueError: if the images are not a floating-point array of rank 4.
        """
        if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(
                "images must be a floating-point array [N, H, W, C]; received "
                f"{images.dtype} {list(images.shape)}"
            )
        x = self._apply_stem(images)
        for make_block in self.block_makers:
            x = make_block()(x, is_training)
        if self.norm is not None:
            x = self.norm(x, is_training, name="final_bn")
        if self.block != "fixup":
            x = self.activation(x)
        features = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        pooled = features
        if is_training and self.dropout_rate > 0.0:
            pooled = hk.dropout(hk.next_rng_key(), self.dropout_rate, pooled)
        if self.block == "fixup":
            pooled = pooled + hk.get_parameter("bias2", (), jnp.float32, init=jnp.zeros)
        w_init = hk.initializers.RandomNormal(self.classifier_init_std)
        logits = hk.Linear(self.num_classes, w_init=w_init, name="classifier")(pooled)
        return dict(logits=logits, features=features)

    @hk.transparent  # keeps the module paths free of the method's name
    def _apply_stem(self, images: jax.Array) -> jax.Array:
        if self.stem == "imagenet":
            x = self.make_stem_conv(self.stem_width, 7, 2, name="initial_conv")(images)
        else:
            x = self.make_stem_conv(self.stem_width, 3, 1, name="initial_conv")(images)
        if self.block == "fixup":
            bias = hk.get_parameter("bias1", (), jnp.float32, init=jnp.zeros)
            x = self.activation(x + bias.astype(x.dtype))
        if self.stem == "imagenet":
            x = hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
        return tag("stem", x)
