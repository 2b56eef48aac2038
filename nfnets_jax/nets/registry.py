"""Networks by name."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import haiku as hk
import jax

from nfnets_jax.nets import architectures, arguments, branches
from nfnets_jax.nets.branches import BlockPlan, Branch
from nfnets_jax.nets.mlp import FullyConnected
from nfnets_jax.nets.normalization import count_groups
from nfnets_jax.nets.residual_mlp import ResidualMLP
from nfnets_jax.nets.resnet import ResNet
from nfnets_jax.nets.vgg import VGG

# Of the authors' released code, except that dropout and stochastic depth of the ResNets are off
# until asked for and that `weight_init` and `weight_standardization` are choices.
_STATISTICS_DEFAULTS = dict(
    norm="batch",
    num_groups=16,
    ghost_size=64,
    bn_decay_rate=0.9,
    bn_eps=1e-5,
    cross_replica_axis=None,
)
_NORM_DEFAULTS = dict(
    _STATISTICS_DEFAULTS,
    classifier_init_std=0.0,
    use_se=False,
    se_ratio=0.25,
    weight_init="lecun",
    weight_standardization=False,
)
_SUM_DEFAULTS = dict(
    classifier_init_std=0.01,
    conv_bias=True,
    stem_bias=False,
    weight_init="he",
    scan_blocks=False,
)
_BLOCK_DEFAULTS = {
    "nf": dict(
        classifier_init_std=0.01,
        alpha=0.2,
        use_skip_gain=True,
        skip_gain_init=0.0,
        use_se=False,
        se_ratio=0.25,
        use_eca=False,
        shortcut="conv",
        weight_standardization=True,
        gamma_in="activation",
        padding="same",
        eps_mode="clamp",
        eps=1e-4,
        round_widths=False,
        scan_blocks=False,
    ),
    "skipinit": dict(
        classifier_init_std=0.0,
        skip_gain_init=0.0,
        conv_bias=True,
        stem_bias=False,
        weight_init="lecun",
        scan_blocks=False,
    ),
    "fixup": dict(classifier_init_std=0.0, scan_blocks=False),
    "bn": dict(_NORM_DEFAULTS, norm_order="norm_act", use_skip=True),
    "bn_v1": dict(_NORM_DEFAULTS, last_scale_init=1.0, use_projection=True),
    "plain": dict(_SUM_DEFAULTS, use_skip=True),
    "sqrt2": _SUM_DEFAULTS,
}
_BRANCH_DEFAULTS = {
    "resnet": dict(bottleneck=True),
    "regnet": dict(head_width=0, expansion=2.25, group_size=8),
    "nfnet": dict(head_width=0, expansion=0.5, group_size=128, use_two_convs=True),
}
_MLP_DEFAULTS = dict(
    _STATISTICS_DEFAULTS, widths=(64,), activation="relu", weight_init="he", first_init="same",
    classifier_init="lecun", with_bias=True, norm="none", norm_classifier=False)
_VGG_DEFAULTS = dict(
    _STATISTICS_DEFAULTS, activation="relu", weight_init="he", norm_classifier=False)
_DENSE_DEFAULTS = dict(width=64, num_blocks=6, activation="relu")
_DENSE_BLOCK_DEFAULTS = {
    "bn": dict(_STATISTICS_DEFAULTS, use_skip=True),
    "plain": dict(use_skip=True),
    "skipinit": dict(skip_gain_init=0.0),
}
# The arguments that `ResNet` takes itself; the others go to its blocks or make its plan.
_SHARED = (
    "stem", "stem_width", "head_width", "activation", "dropout_rate", "stochastic_depth_rate",
    "scale_by_keep", "classifier_init_std", "scan_blocks", "remat_blocks",
)


def defaults(name: str) -> dict[str, Any]:
    """Returns every argument that `create(name, num_classes, ...)` can override, with its value.

    widths, depths, strides: of the stages. stem: 'imagenet' (7x7 convolution of stride 2 and 3x3
    max-pool of stride 2), 'cifar' (3x3 of stride 1), 'regnet' (3x3 of stride 2) or 'nfnet' (four
    3x3, of strides 2, 1, 1, 2); stem_width: its channels. activation: see `activation_names`.
    dropout_rate: of the pooled features. stochastic_depth_rate: times i / L for block i of L;
    scale_by_keep: whether kept branches are rescaled. classifier_init_std: of the weights.
    scan_blocks: compile identical blocks once, for deep networks; where blocks have no state.
    remat_blocks: compute each block again in the backward pass instead of keeping it in memory.

    ResNets: bottleneck, 1x1, 3x3, 1x1 branches instead of two 3x3. NF-RegNets and NFNets:
    expansion, inner width over that of the block's input (NF-RegNet) or output (NFNet);
    group_size, channels of a group of the 3x3; head_width, of the last 1x1 convolution, 0 for
    none. NFNets: use_two_convs, a second 3x3.

    nf: alpha; use_skip_gain and skip_gain_init; use_se and se_ratio for squeeze-and-excite,
    use_eca for efficient channel attention; shortcut 'conv' or 'avg_pool'; weight_standardization=
    False for plain He-initialized convolutions and unscaled activations; gamma_in 'activation' or
    'weights', where the gain of the nonlinearity is multiplied in (the same network but for stem
    and classifier); padding 'same' or 'symmetric'; eps_mode and eps, see `standardize`;
    round_widths, inner widths and those of squeeze-and-excite to multiples of 8 as in timm.
    skipinit: skip_gain_init; conv_bias and stem_bias; weight_init 'lecun' or 'he'.
    plain: conv_bias, stem_bias, weight_init. sqrt2: likewise; the sum of shortcut and branch is
    divided by the square root of 2. plain, bn: use_skip, False for blocks that are their branches
    alone, without any shortcut.
    bn, bn_v1 (post-activation): use_se, se_ratio, weight_init; norm, 'batch' or another kind that
    `make_norm` knows, or 'none'; num_groups, of norm='group'; ghost_size, examples of a group of
    norm='ghost_batch'; weight_standardization, without gain or bias; bn_decay_rate; bn_eps, of
    every norm; cross_replica_axis, the named axis over which the statistics of norm='batch' are
    averaged. bn: norm_order, 'norm_act' for normalization, activation, convolution or 'act_norm'.
    bn_v1: last_scale_init, of the last norm of each branch; use_projection, False for shortcuts
    that skip pixels and add channels of zeros instead of 1x1 convolutions.

    vgg: widths and depths, of the stages of convolutions; hidden_widths, of the fully connected
    layers behind them; activation; weight_init; norm and what belongs to it; norm_classifier,
    whether the logits are normalized too.

    mlp: widths, of the hidden layers; activation; weight_init, of the hidden layers 'he'
    N(0, 2 / fan_in), 'lecun' N(0, 1 / fan_in), 'glorot' or 'orthogonal'; first_init, of the first
    one, 'same' for weight_init; classifier_init; with_bias; norm, after each hidden matrix, and
    what belongs to it, 'none' for nothing; norm_classifier. {block}_mlp, fully connected residual
    networks: width, num_blocks, activation; skipinit: skip_gain_init; bn, plain: use_skip; bn:
    norm and what belongs to it.

    Raises:
      ValueError: if the name is unknown.
    """
    found = architectures.find(name)
    if found.family == "mlp":
        return dict(_MLP_DEFAULTS)
    if found.family == "residual_mlp":
        return {**_DENSE_DEFAULTS, **_DENSE_BLOCK_DEFAULTS.get(found.block, {})}
    if found.family == "vgg":
        return {**_VGG_DEFAULTS, **found.values}
    shared = dict(
        activation="relu", dropout_rate=0.0, stochastic_depth_rate=0.0, scale_by_keep=False,
        remat_blocks=False)
    values = {**_BRANCH_DEFAULTS[found.branch], **shared, **_BLOCK_DEFAULTS[found.block]}
    return {**values, **found.values}


def create(name: str, num_classes: int | None, **overrides: Any) -> hk.TransformedWithState:
    """Creates a network.

    Args:
      name: one of `names()`, or `{block}_wrn_{d}_{k}` or `{block}_cifar_resnet{d}_{k}`.
      num_classes: number of logits; None for an encoder, which has no classifier.
      **overrides: values that replace those of `defaults(name)`.

    Returns:
      Transformed function of `(images, is_training)`: images are float [N, H, W, C], is_training
      is a Python bool; the result is a dict of float32 `features` [N, F], the pooled features
      before dropout, and, with classes, `logits` [N, num_classes]. Its parameters are float32
      whatever the images.

    Raises:
      ValueError: for an unknown name or argument, or a value that is not allowed.
    """
    if num_classes is not None:
        arguments.check("num_classes", num_classes)
    found = architectures.find(name)
    make_network = _FAMILIES[found.family](name, overrides)

    def forward(images: jax.Array, is_training: bool) -> dict[str, jax.Array]:
        network = make_network(num_classes=num_classes, name=found.module_name)
        return network(images, is_training)

    return hk.transform_with_state(forward)


def _resnet(name: str, overrides: Mapping[str, Any]) -> Callable[..., ResNet]:
    block, plan, values = resolve_plan(name, overrides)
    shared = {"head_width": 0, "scan_blocks": False}
    shared |= {key: values.pop(key) for key in _SHARED if key in values}
    return functools.partial(ResNet, block=block, plan=plan, **shared, block_arguments=values)


def _mlp(name: str, overrides: Mapping[str, Any]) -> Callable[..., FullyConnected]:
    values = arguments.resolve(name, defaults(name), overrides)
    for width in values["widths"]:
        _check_groups_of_norm(values, (1, width))
    if values["norm_classifier"] and values["norm"] == "none":
        raise ValueError("norm_classifier=True is not allowed with norm='none'; choose a norm")
    return functools.partial(FullyConnected, **values)


def _residual_mlp(name: str, overrides: Mapping[str, Any]) -> Callable[..., ResidualMLP]:
    values = arguments.resolve(name, defaults(name), overrides)
    _check_groups_of_norm(values, (1, values["width"]))
    return functools.partial(ResidualMLP, block=architectures.find(name).block, **values)


def _vgg(name: str, overrides: Mapping[str, Any]) -> Callable[..., VGG]:
    values = arguments.resolve(name, defaults(name), overrides)
    shapes = [(1, 1, 1, width) for width in values["widths"]]
    shapes += [(1, width) for width in values["hidden_widths"]]
    for shape in shapes:
        _check_groups_of_norm(values, shape)
    return functools.partial(VGG, **values)


def _check_groups_of_norm(values: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    if values.get("norm") in ("layer", "group", "instance"):
        count_groups(values["norm"], values["num_groups"], shape)


# Family of networks -> (name, overrides) -> what makes its module of (num_classes, name).
_FAMILIES: Mapping[str, Callable[..., Callable[..., hk.Module]]] = {
    "resnet": _resnet,
    "mlp": _mlp,
    "residual_mlp": _residual_mlp,
    "vgg": _vgg,
}


def resolve_plan(
    name: str, overrides: Mapping[str, Any]
) -> tuple[str, list[BlockPlan], dict[str, Any]]:
    """Returns a network's kind of block, its blocks in order, and all its arguments.

    Raises:
      ValueError: as `create`, and for a network without convolutional blocks.
    """
    found = architectures.find(name)
    if found.family != "resnet":
        raise ValueError(
            f"network {name!r} has no convolutional blocks; use a network that has, such as "
            "nf_resnet_digits")
    values = arguments.resolve(name, defaults(name), overrides)
    if found.branch == "regnet":
        values["gate_after"] = "conv1"  # between the 3x3 and its activation
    stages = [values[argument] for argument in ("stem_width", "widths", "depths", "strides")]
    plan = branches.plan_blocks(*stages, _branch(found.branch, values))
    for block in plan:
        if not all(kernel.channels for kernel in block.kernels):
            raise ValueError(
                f"group_size={values['group_size']} is not allowed with expansion="
                f"{values['expansion']:g} and widths={tuple(values['widths'])}: the branch of "
                f"block {block.index} would be narrower than one group")
    if values.get("norm") == "group":
        _check_groups(values["num_groups"], values["stem_width"], plan)
    return found.block, plan, values


def _check_groups(num_groups: int, stem_width: int, plan: list[BlockPlan]) -> None:
    for block in plan:
        for channels in (stem_width, block.channels, *(k.channels for k in block.kernels)):
            if channels % min(num_groups, channels):
                raise ValueError(
                    f"num_groups={num_groups} is not allowed with a layer of {channels} channels; "
                    f"use a divisor, such as {math.gcd(num_groups, channels)}")


def _branch(kind: str, values: Mapping[str, Any]) -> Branch:
    if kind == "resnet":
        return branches.resnet_branch(values["bottleneck"])
    if kind == "regnet":
        return branches.regnet_branch(
            values["expansion"], values["group_size"], values["round_widths"])
    return branches.nfnet_branch(
        values["expansion"], values["group_size"], values["use_two_convs"])


def total_stride(name: str, **overrides: Any) -> int:
    """Returns the factor by which a network reduces the height and the width of its images.

    Raises:
      ValueError: as `create`.
    """
    values = arguments.resolve(name, defaults(name), overrides)
    if "stem" not in values:
        return 2 ** len(values["widths"]) if "depths" in values else 1
    return arguments.STEM_STRIDES[values["stem"]] * math.prod(values["strides"])


def is_tagged(name: str) -> bool:
    """Whether a network marks what `analysis.signal_propagation.measure` reads; see `tag`.

    Raises:
      ValueError: if the name is unknown.
    """
    return architectures.find(name).family == "resnet"


def image_sizes(name: str) -> tuple[int, int]:
    """Returns the pixels of the square images that a network is trained on, and tested on.

    Raises:
      ValueError: if the name is unknown.
    """
    return architectures.find(name).image_sizes
