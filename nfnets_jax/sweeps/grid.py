"""Writing down a sweep: a list of dicts, each the fields of one run that differ from the config.

    def get_sweep():
        return sweeps.product(
            {"batch_size": (32, 128)},
            {"optimizer.learning_rate": sweeps.powers(2, -6, 4)},
            {"seed": range(10)})

Lists are added with `+`; a run that is there twice is made once.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Overrides = dict[str, Any]
# One axis: the values of one field, or a list of runs.
Axis = Mapping[str, Iterable[Any]] | Sequence[Overrides]


def product(*axes: Axis) -> list[Overrides]:
    """Every combination of one entry of each axis; the last axis varies fastest.

    Args:
      *axes: `{field: values}`, where several fields of one dict are combined with each other too,
        or a list of dicts, whose entries stay together.
    """
    rows = [row for axis in axes for row in _as_lists(axis)]
    return [{key: value for part in parts for key, value in part.items()}
            for parts in itertools.product(*rows)]


def zipped(fields: Mapping[str, Iterable[Any]]) -> list[Overrides]:
    """The first values of all fields together, then the second ones, and so on.

    Raises:
      ValueError: if the fields have not equally many values.
    """
    columns = {key: list(values) for key, values in fields.items()}
    if len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"{key} has {len(values)}" for key, values in columns.items())
        raise ValueError(f"zipped fields need equally many values: {lengths}")
    return [dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)]


def powers(base: float, low: float, high: float, per_step: int = 1) -> tuple[float, ...]:
    """base^low, ..., base^high, with `per_step` values from one whole power to the next."""
    count = round((high - low) * per_step)
    return tuple(float(base) ** (low + k / per_step) for k in range(count + 1))


def _as_lists(axis: Axis) -> list[list[Overrides]]:
    if isinstance(axis, Mapping):
        return [[{key: value} for value in values] for key, values in axis.items()]
    return [list(axis)]
