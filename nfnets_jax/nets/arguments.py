"""What each argument of a network may be, and the errors for what it may not."""

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from nfnets_jax.naming import nearest
from nfnets_jax.nets.activations import activation_names
from nfnets_jax.nets.conv import INITIALIZATION_GAINS
from nfnets_jax.nets.mlp import DENSE_INITIALIZERS
from nfnets_jax.nets.normalization import NORMS

# Name of a stem -> the factor by which it reduces the height and the width.
STEM_STRIDES = {"imagenet": 4, "cifar": 1, "regnet": 2, "nfnet": 4}


class Rule(NamedTuple):
    """What one argument may be.

    Attributes:
      accepts: whether a value is allowed.
      allowed: what is allowed, in words.
    """

    accepts: Callable[[Any], bool]
    allowed: str


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def _is_positive_integer(value: Any) -> bool:
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_integer and value >= 1


def _is_list_of_positive_integers(value: Any) -> bool:
    is_list = isinstance(value, list | tuple) and len(value) > 0
    return is_list and all(_is_positive_integer(item) for item in value)


def _choice(*values: str) -> Rule:
    listed = ", ".join(repr(value) for value in values)
    return Rule(lambda value: isinstance(value, str) and value in values, f"one of {listed}")


_BOOLEAN = Rule(lambda value: isinstance(value, bool), "True or False")
_POSITIVE_INTEGER = Rule(_is_positive_integer, "a whole number of at least 1")
_POSITIVE_INTEGERS = Rule(_is_list_of_positive_integers, "a list of whole numbers of at least 1")
_NUMBER = Rule(_is_number, "a finite number")
_NOT_NEGATIVE = Rule(lambda value: _is_number(value) and value >= 0, "a number of at least 0")
_POSITIVE = Rule(lambda value: _is_number(value) and value > 0, "a number above 0")
_RATE = Rule(
    lambda value: _is_number(value) and 0 <= value < 1, "a number of at least 0 and below 1"
)
_WHOLE = Rule(lambda value: value == 0 or _is_positive_integer(value), "a whole number")
_AXIS = Rule(lambda value: value is None or isinstance(value, str), "None or the name of an axis")

RULES = dict(
    num_classes=_POSITIVE_INTEGER,
    width=_POSITIVE_INTEGER,
    widths=_POSITIVE_INTEGERS,
    hidden_widths=_POSITIVE_INTEGERS,
    num_blocks=_POSITIVE_INTEGER,
    depths=_POSITIVE_INTEGERS,
    strides=_POSITIVE_INTEGERS,
    stem=_choice(*STEM_STRIDES),
    stem_width=_POSITIVE_INTEGER,
    head_width=_WHOLE,
    bottleneck=_BOOLEAN,
    expansion=_POSITIVE,
    group_size=_POSITIVE_INTEGER,
    use_two_convs=_BOOLEAN,
    scan_blocks=_BOOLEAN,
    remat_blocks=_BOOLEAN,
    activation=_choice(*activation_names()),
    dropout_rate=_RATE,
    stochastic_depth_rate=_RATE,
    scale_by_keep=_BOOLEAN,
    classifier_init_std=_NOT_NEGATIVE,
    alpha=_NOT_NEGATIVE,
    use_skip=_BOOLEAN,
    use_projection=_BOOLEAN,
    use_skip_gain=_BOOLEAN,
    skip_gain_init=_NUMBER,
    use_se=_BOOLEAN,
    use_eca=_BOOLEAN,
    se_ratio=_POSITIVE,
    shortcut=_choice("conv", "avg_pool"),
    padding=_choice("same", "symmetric"),
    gamma_in=_choice("activation", "weights"),
    eps_mode=_choice("clamp", "add_to_variance"),
    eps=_POSITIVE,
    round_widths=_BOOLEAN,
    weight_standardization=_BOOLEAN,
    conv_bias=_BOOLEAN,
    stem_bias=_BOOLEAN,
    weight_init=_choice(*sorted(INITIALIZATION_GAINS)),
    norm=_choice(*NORMS),
    num_groups=_POSITIVE_INTEGER,
    ghost_size=_POSITIVE_INTEGER,
    last_scale_init=_NUMBER,
    norm_order=_choice("norm_act", "act_norm"),
    bn_decay_rate=_RATE,
    bn_eps=_POSITIVE,
    norm_classifier=_BOOLEAN,
    with_bias=_BOOLEAN,
    first_init=_choice("same", *DENSE_INITIALIZERS),
    classifier_init=_choice(*DENSE_INITIALIZERS),
    cross_replica_axis=_AXIS,
)

# Of networks without convolutions.
DENSE_RULES = {**RULES, "weight_init": _choice(*DENSE_INITIALIZERS)}


def check(argument: str, value: Any, rules: Mapping[str, Rule] = RULES) -> None:
    """Raises a ValueError that names the argument, its value and what is allowed."""
    rule = rules[argument]
    if not rule.accepts(value):
        raise ValueError(f"{argument}={value!r} is not allowed; it must be {rule.allowed}")


def resolve(name: str, defaults: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict:
    """Returns the network's defaults with the overrides, checked.

    Raises:
      ValueError: for an unknown argument, a value that is not allowed, stages that do not agree
        in number, a bottleneck that would have no channels, or stochastic depth without shortcuts.
    """
    for argument, value in overrides.items():
        if argument not in defaults:
            raise ValueError(
                f"network {name!r} has no argument {argument!r}; "
                f"nearest: {nearest(argument, defaults)}"
            )
        check(argument, value, RULES if "depths" in defaults else DENSE_RULES)
    # A NumPy scalar would impose its own precision on what it is multiplied with.
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in overrides.items()}
    resolved = {**defaults, **plain}
    if "depths" in resolved:
        _check_stages(resolved)
    if resolved.get("stochastic_depth_rate") and not resolved.get("use_skip", True):
        raise ValueError(
            f"stochastic_depth_rate={resolved['stochastic_depth_rate']} is not allowed with "
            "use_skip=False: without shortcuts an example whose branch is dropped would become 0; "
            "use 0")
    if resolved["activation"] == "glu":
        _check_glu(name, resolved)
    return resolved


def _check_stages(resolved: Mapping[str, Any]) -> None:
    stages = {argument: tuple(resolved[argument])
              for argument in ("widths", "depths", "strides") if argument in resolved}
    if len({len(stage) for stage in stages.values()}) > 1:
        given = ", ".join(f"{argument}={stage}" for argument, stage in stages.items())
        raise ValueError(
            f"{given} must have one entry for each stage, so that all have the same length")
    if resolved.get("bottleneck") and min(resolved["widths"]) < 4:
        raise ValueError(
            f"widths={stages['widths']} is not allowed with bottleneck=True, whose inner width is "
            "a quarter of the width; use widths of at least 4"
        )
    if resolved.get("stem") == "nfnet" and resolved["stem_width"] % 8:
        raise ValueError(
            f"stem_width={resolved['stem_width']} is not allowed with stem='nfnet', whose first "
            "convolution has an eighth of it; use a multiple of 8")


def _check_glu(name: str, values: Mapping[str, Any]) -> None:
    """Raises a ValueError where 'glu', which returns half of its channels, cannot stand."""
    if name.startswith("fixup"):
        raise ValueError(
            "activation='glu' is not allowed with FixUp, whose blocks end in an activation: it "
            "would halve their channels")
    if "expansion" in values or "stem" not in values:
        raise ValueError(f"activation='glu' is not allowed in {name}: it halves the channels")
    inner = 4 if values["bottleneck"] else 1
    for argument, width in [("stem_width", values["stem_width"])] + [
            ("widths", width // inner) for width in values["widths"]]:
        if width % 2:
            raise ValueError(
                f"{argument}={values[argument]} is not allowed with activation='glu', which "
                "halves the channels: every layer's width, bottlenecks included, must be even")
