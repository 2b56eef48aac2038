"""Networks by name."""

import math
import re
from collections.abc import Mapping
from typing import Any

import haiku as hk
import jax

from nfnets_jax.naming import nearest
from nfnets_jax.nets import arguments
from nfnets_jax.nets.blocks import BlockPlan, plan_blocks
from nfnets_jax.nets.resnet import ResNet

_BLOCKS = ("bn", "fixup", "nf", "skipinit")

_IMAGENET_DEPTHS = {
    "50": (3, 4, 6, 3),
    "101": (3, 4, 23, 3),
    "152": (3, 8, 36, 3),
    "200": (3, 24, 36, 3),
    "288": (24, 24, 24, 24),
    "600": (50, 50, 50, 50),
}

_LISTED_WIDE_RESNETS = ("16_2", "16_4", "28_10", "40_4", "100_2", "1000_2")

# Of the authors' released code, except that dropout and stochastic depth are off until asked for
# and that `weight_init` and `weight_standardization` are choices.
_BLOCK_DEFAULTS = {
    "nf": dict(
        classifier_init_std=0.01,
        alpha=0.2,
        skip_gain_init=0.0,
        use_se=False,
        se_ratio=0.25,
        weight_standardization=True,
    ),
    "skipinit": dict(
        classifier_init_std=0.0,
        skip_gain_init=0.0,
        conv_bias=True,
        stem_bias=False,
        weight_init="lecun",
    ),
    "fixup": dict(classifier_init_std=0.0),
    "bn": dict(
        classifier_init_std=0.0,
        use_se=False,
        se_ratio=0.25,
        weight_init="lecun",
        bn_decay_rate=0.9,
        bn_eps=1e-5,
        cross_replica_axis=None,
    ),
}


def names() -> list[str]:
    """Returns the sorted names of the usual networks.

    `{block}_wrn_{d}_{k}` is accepted for every depth d = 6b + 4 and width k, also if not listed.
    """
    kinds = [f"resnet{depth}" for depth in _IMAGENET_DEPTHS]
    kinds += [f"wrn_{size}" for size in _LISTED_WIDE_RESNETS]
    kinds += ["resnet_digits"]
    return sorted(f"{block}_{kind}" for block in _BLOCKS for kind in kinds)


def _unknown(name: str, why: str = "") -> ValueError:
    return ValueError(
        f"network {name!r} is unknown{why}; nearest: {nearest(name, names())}"
    )


def _layout(name: str) -> tuple[str, dict[str, Any]]:
    """Returns the kind of block and the stem and stages that a network's name stands for."""
    matched = re.fullmatch(r"(nf|skipinit|fixup|bn)_(resnet|wrn)_?(\w+)", str(name))
    if not matched:
        raise _unknown(name)
    block, kind, size = matched.groups()
    if name == f"{block}_resnet{size}" and size in _IMAGENET_DEPTHS:
        return block, dict(
            widths=(256, 512, 1024, 2048),
            depths=_IMAGENET_DEPTHS[size],
            strides=(1, 2, 2, 2),
            stem="imagenet",
            stem_width=64,
            bottleneck=True,
        )
    if name == f"{block}_resnet_digits":
        return block, dict(
            widths=(32, 64),
            depths=(2, 4),
            strides=(1, 2),
            stem="cifar",
            stem_width=32,
            bottleneck=False,
        )
    sizes = re.fullmatch(rf"{block}_wrn_([1-9]\d*)_([1-9]\d*)", name)
    if not sizes:
        raise _unknown(name)
    depth, width = map(int, sizes.groups())
    if depth < 10 or depth % 6 != 4:
        raise _unknown(name, f": depth {depth} is not 6 b + 4 for a whole number b of at least 1")
    return block, dict(
        widths=(16 * width, 32 * width, 64 * width),
        depths=((depth - 4) // 6,) * 3,
        strides=(1, 2, 2),
        stem="cifar",
        stem_width=16,
        bottleneck=False,
    )


def defaults(name: str) -> dict[str, Any]:
    """Returns every argument that `create(name, num_classes, ...)` can override, with its value.

    widths, depths, strides: of the stages. stem: 'imagenet' or 'cifar'; stem_width: its channels.
    bottleneck: 1x1, 3x3, 1x1 branches instead of two 3x3. activation: see `activation_names`.
    dropout_rate: of the pooled features. stochastic_depth_rate: times i / L for block i of L;
    scale_by_keep: whether kept branches are rescaled. classifier_init_std: of the weights.

    nf: alpha; skip_gain_init; use_se and se_ratio for squeeze-and-excite;
    weight_standardization=False for plain He-initialized convolutions and unscaled activations.
    skipinit: skip_gain_init; conv_bias and stem_bias; weight_init 'lecun' or 'he'.
    bn: use_se, se_ratio, weight_init; bn_decay_rate, bn_eps; cross_replica_axis, the named axis
    over which batch statistics are averaged.

    Raises:
      ValueError: if the name is unknown.
    """
    block, layout = _layout(name)
    regularization = dict(dropout_rate=0.0, stochastic_depth_rate=0.0, scale_by_keep=False)
    values = {**layout, "activation": "relu", **regularization, **_BLOCK_DEFAULTS[block]}
    if block == "skipinit" and "_wrn_" in name:
        values["conv_bias"] = False  # arXiv 2002.10444: plain SkipInit adds no biases.
    return values


def create(name: str, num_classes: int, **overrides: Any) -> hk.TransformedWithState:
    """Creates a network.

    Args:
      name: one of `names()`, or `{nf,skipinit,fixup,bn}_wrn_{d}_{k}`.
      num_classes: number of logits.
      **overrides: values that replace those of `defaults(name)`.

    Returns:
      Transformed function of `(images, is_training)`: images are float [N, H, W, C], is_training
      is a Python bool; the result is a dict of float32 `logits` [N, num_classes] and `features`
      [N, F], the pooled features before dropout. Its parameters are float32 whatever the images.

    Raises:
      ValueError: for an unknown name or argument, or a value that is not allowed.
    """
    block = _layout(name)[0]
    arguments.check("num_classes", num_classes)
    values = arguments.resolve(name, defaults(name), overrides)
    own = {key: values.pop(key) for key in _BLOCK_DEFAULTS[block] if key != "classifier_init_std"}

    def forward(images: jax.Array, is_training: bool) -> dict[str, jax.Array]:
        network = ResNet(num_classes, block, block_arguments=own, **values)
        return network(images, is_training)

    return hk.transform_with_state(forward)


def resolve_plan(
    name: str, overrides: Mapping[str, Any]
) -> tuple[str, list[BlockPlan], dict[str, Any]]:
    """Returns a network's kind of block, its blocks in order, and all its arguments.

    Raises:
      ValueError: as `create`.
    """
    values = arguments.resolve(name, defaults(name), overrides)
    stages = [values[argument] for argument in ("stem_width", "widths", "depths", "strides")]
    return _layout(name)[0], plan_blocks(*stages), values


def total_stride(name: str, **overrides: Any) -> int:
    """Returns the factor by which a network reduces the height and the width of its images.

    Raises:
      ValueError: as `create`.
    """
    values = arguments.resolve(name, defaults(name), overrides)
    return (4 if values["stem"] == "imagenet" else 1) * math.prod(values["strides"])
