"""Configs: which fields there are, what they may hold, and the check before anything compiles.

A config is an `ml_collections.ConfigDict` that starts as `default_config()`, which holds every
field there is, so that each can be set in a file or on the command line. `check_config` answers a
wrong one with a `ConfigError` that names the field, its value and what is allowed.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ml_collections import config_dict

from nfnets_jax.naming import nearest

LARGEST_INTEGER = 2**31 - 1
LARGEST_FLOAT = 3.4e38  # that float32 holds, nearly


# What `analysis` can measure on the loss of a task, during training and on checkpoints.
MEASURES = ("gradient_confusion", "curvature", "gradient_noise")


class ConfigError(ValueError):
    """A config that cannot be run. The message is for the person who wrote it."""


class Field(NamedTuple):
    """One value of a config.

    Attributes:
      default: the value that `default_config()` starts with; None where a network or data set
        has a default of its own.
      kind: the Python type of the value.
      allowed: what the field accepts, in words.
      accepts: whether a value of type `kind` is allowed.
    """

    default: Any
    kind: type
    allowed: str
    accepts: Callable[[Any], bool]


def integer(default: int | None, minimum: int, maximum: int = LARGEST_INTEGER) -> Field:
    """An int between `minimum` and `maximum`, both included."""
    upper = "" if maximum == LARGEST_INTEGER else f" and at most {maximum}"
    return Field(
        default, int, f"a whole number of at least {minimum}{upper}",
        lambda value: minimum <= value <= maximum,
    )


def number(default: float | None, minimum: float, maximum: float = LARGEST_FLOAT, *,
           open_below: bool = False, open_above: bool = False) -> Field:
    """A float between `minimum` and `maximum`; an end is excluded if it is open."""
    lower = f"above {minimum:g}" if open_below else f"of at least {minimum:g}"
    upper = "" if maximum == LARGEST_FLOAT else (
        f" and below {maximum:g}" if open_above else f" and at most {maximum:g}")

    def accepts(value):
        return (math.isfinite(value) and value >= minimum and value <= maximum
                and not (open_below and value == minimum) and not (open_above and value == maximum))

    return Field(default, float, f"a number {lower}{upper}", accepts)


def numbers(default: tuple[float, ...], minimum: float) -> Field:
    """One or more different floats of at least `minimum`."""

    def accepts(values):
        return (len(values) > 0 and len(set(values)) == len(values) and all(
            type(value) in (int, float) and math.isfinite(value) and value >= minimum
            for value in values))

    return Field(default, tuple, f"different numbers of at least {minimum:g}, for instance "
                 f"{default!r}", accepts)


def names(choices: tuple[str, ...]) -> Field:
    """Any of `choices`, each at most once, in a tuple; none by default."""
    return Field((), tuple, "a tuple with any of " + ", ".join(choices), lambda values: all(
        value in choices and values.count(value) == 1 for value in values))


def text(default: str | None, choices: tuple[str, ...] | None = None) -> Field:
    """A string; one of `choices` if they are given."""
    if choices is None:
        return Field(default, str, "a text", lambda value: True)
    return Field(default, str, "one of " + ", ".join(choices), lambda value: value in choices)


def boolean(default: bool) -> Field:
    """True or False."""
    return Field(default, bool, "true or false", lambda value: True)


def anything_like(example: Any) -> Field:
    """A value of the type of `example` whose range is checked by its owner; unset by default."""
    return Field(None, type(example), f"a {type(example).__name__}, for instance {example!r}",
                 lambda value: True)


Fields = Mapping[str, "Field | Fields"]

# What the loop itself reads; every task has these fields beside its own.
LOOP_FIELDS: Fields = {
    "task": text("classification"),
    "seed": integer(0, 0),
    "log_every": integer(50, 1),
    "evaluate_every": integer(0, 0),
    "checkpoint_every": integer(0, 0),
    "keep_checkpoints": integer(2, 1),
    # What is measured on the loss at the start, at the end and, if asked for, in between.
    "analysis": {
        "measures": names(MEASURES),
        "every": integer(0, 0),
        "num_examples": integer(None, 1),  # of the training split; all by default
        "batch_size": integer(None, 1, 2**20),  # that of training by default
        "batch_norm": text("batch", ("batch", "moving_average")),
        "gradients": text("minibatches", ("minibatches", "examples")),
        "num_pairs": integer(100, 1, 2**20),
        "sampling": text("independent", ("independent", "disjoint")),
        "num_products": integer(50, 2, 10**4),  # of Lanczos
    },
}


def default_config(task: str = "classification") -> config_dict.ConfigDict:
    """Every field of a task with its default, ready to be changed in a config file.

    Raises:
      ConfigError: for an unknown task.
    """
    config = config_dict.ConfigDict(_defaults(_fields(task)))
    config.task = task
    return config


def check_config(config: Mapping, device_count: int) -> dict[str, Any]:
    """Checks a config and returns it as a plain, JSON-serialisable dict with every field filled.

    Args:
      config: a `ConfigDict` or a nested dict.
      device_count: how many devices will share a batch.

    Raises:
      ConfigError: naming the field, its value and what is allowed. Nothing has been compiled.
    """
    from nfnets_jax import tasks  # the tasks declare their fields with this module

    plain = config.to_dict() if isinstance(config, config_dict.ConfigDict) else config
    if not isinstance(plain, Mapping):
        raise ConfigError(f"a config is a mapping of fields, not {plain!r}")
    fields = _fields(plain.get("task", LOOP_FIELDS["task"].default))
    checked = _check_tree(plain, fields, "")
    return tasks.get(checked["task"]).check(checked, device_count)


def to_json(config: Mapping) -> str:
    """The text in which a checked config is kept in a working directory."""
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def difference(before: Mapping, after: Mapping, path: str = "") -> list[str]:
    """Lines `field: old -> new` for every field in which two checked configs differ."""
    lines = []
    for key in sorted(set(before) | set(after)):
        old, new = before.get(key, "(absent)"), after.get(key, "(absent)")
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += difference(old, new, f"{path}{key}.")
        elif old != new:
            lines.append(f"{path}{key}: {json.dumps(old)} -> {json.dumps(new)}")
    return lines


def unknown_field(path: str, known) -> ConfigError:
    """The error for a field that does not exist; `known` are the fields that do, at its level."""
    parent, _, key = path.rpartition(".")
    where = f"{parent} has" if parent else "there are"
    return ConfigError(f"{path}: no such field; {where} {nearest(key, known)}")


def _fields(task: Any) -> Fields:
    from nfnets_jax import tasks

    if task not in tasks.names():
        raise ConfigError(f"task={task!r}: unknown; allowed: {', '.join(tasks.names())}")
    return {**LOOP_FIELDS, **tasks.get(task).FIELDS}


def _defaults(fields: Fields) -> dict[str, Any]:
    defaults = {}
    for key, field in fields.items():
        if not isinstance(field, Field):
            defaults[key] = _defaults(field)
        elif field.default is None:
            defaults[key] = config_dict.placeholder(field.kind)
        else:
            defaults[key] = field.default
    return defaults


def _check_tree(values: Mapping, fields: Fields, path: str) -> dict[str, Any]:
    for key in values:
        if key not in fields:
            raise unknown_field(f"{path}{key}", fields)
    checked = {}
    for key, field in fields.items():
        name = f"{path}{key}"
        if isinstance(field, Field):
            checked[key] = _check_value(values.get(key, field.default), field, name)
        else:
            subtree = values.get(key, {})
            if not isinstance(subtree, Mapping):
                raise ConfigError(
                    f"{name}={subtree!r}: holds the fields {', '.join(field)}, not a value")
            checked[key] = _check_tree(subtree, field, f"{name}.")
    return checked


def _check_value(value: Any, field: Field, name: str) -> Any:
    if value is None and field.default is None:
        return None
    if field.kind is float and type(value) is int and abs(value) <= LARGEST_INTEGER:
        value = float(value)
    if field.kind is tuple and type(value) is list:
        value = tuple(value)
    if type(value) is not field.kind or not field.accepts(value):
        raise ConfigError(f"{name}={value!r}: must be {field.allowed}")
    return list(value) if field.kind is tuple else value
