"""From a list of overrides to programs: what shares a compilation, and what is run at a time.

A cell is one run. Cells whose configs differ only in the seed and in the traced scalars of their
task (`HYPER` of its module) share a program. Programs are run in chunks, each one population.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ml_collections import config_dict

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.config import ConfigError

# Fields that change neither a run's numbers nor what is measured on it.
IRRELEVANT = ("log_every", "checkpoint_every", "keep_checkpoints", "dataset.data_dir",
              "dataset.loader_threads")


class Cell(NamedTuple):
    """One run of a sweep.

    Attributes:
      key: digest of all fields that matter, the same in whatever sweep the run stands.
      overrides: field -> value, as the sweep gave them.
      config: checked.
    """

    key: str
    overrides: dict[str, Any]
    config: dict[str, Any]


class Program(NamedTuple):
    """Cells that share one compiled program, in the order of the sweep."""

    key: str
    cells: tuple[Cell, ...]


class Chunk(NamedTuple):
    """Cells of one program that are run as one population.

    Attributes:
      key: digest of the cells.
      program: of the cells.
      cells: in the order of the sweep.
      size: number of members of the population, at least that of the cells; the same for all
        chunks of a program, which share its compilation.
    """

    key: str
    program: Program
    cells: tuple[Cell, ...]
    size: int


class Plan(NamedTuple):
    """A sweep.

    Attributes:
      base: the checked config that the overrides change.
      varied: the fields that the overrides name, in the order of their first appearance.
      programs: in the order of the sweep.
      num_given: how many overrides there were; more than cells if some were equal.
    """

    base: dict[str, Any]
    varied: tuple[str, ...]
    programs: tuple[Program, ...]
    num_given: int

    @property
    def cells(self) -> list[Cell]:
        """All cells, program by program."""
        return [cell for program in self.programs for cell in program.cells]


def make_plan(
    config: config_dict.ConfigDict, overrides: Iterable[Mapping[str, Any]], device_count: int = 1
) -> Plan:
    """Checks every cell of a sweep and groups the cells into programs.

    Args:
      config: what the overrides change.
      overrides: from `get_sweep()`.
      device_count: how many devices share one member's batch.

    Raises:
      ConfigError: naming the cell, the field, its value and what is allowed.
    """
    overrides = list(overrides)
    if not overrides:
        raise ConfigError("get_sweep() returned no runs; it must be a list of dicts of fields")
    base = config.to_dict()
    cells: dict[str, Cell] = {}
    for number, fields in enumerate(overrides):
        if not isinstance(fields, Mapping):
            raise ConfigError(f"entry {number} of get_sweep() is {fields!r}, not a dict of fields")
        try:
            checked = config_lib.check_config(_with_overrides(base, fields), device_count)
            _check_analysis(checked)
        except ConfigError as error:
            raise ConfigError(f"run {number} of the sweep ({describe(fields)}): {error}") from None
        plain = {key: _plain(value) for key, value in fields.items()}
        cell = Cell(digest(_without(checked, IRRELEVANT)), plain, checked)
        cells.setdefault(cell.key, cell)
    programs: dict[str, list[Cell]] = {}
    for cell in cells.values():
        programs.setdefault(_program_key(cell.config), []).append(cell)
    varied = tuple(dict.fromkeys(field for fields in overrides for field in fields))
    first = next(iter(cells.values()))
    return Plan(
        base=_fill(base, first.config),
        varied=varied,
        programs=tuple(Program(key, tuple(members)) for key, members in programs.items()),
        num_given=len(overrides))


def make_chunks(plan: Plan, largest: int, multiple: int = 1) -> list[Chunk]:
    """Cuts the programs of a plan into populations, in the order of the plan.

    Args:
      plan: the sweep.
      largest: number of members, about; rounded up to a multiple.
      multiple: that the number of members is divisible by.
    """
    chunks = []
    for program in plan.programs:
        parts = -(-len(program.cells) // largest)
        share = -(-len(program.cells) // parts)
        size = -(-share // multiple) * multiple
        for start in range(0, len(program.cells), share):
            cells = program.cells[start : start + share]
            chunks.append(Chunk(digest([cell.key for cell in cells]), program, cells, size))
    return chunks


def get_field(config: Mapping[str, Any], path: str) -> Any:
    """The value of a field by its dotted path; None if it is not there."""
    for key in path.split("."):
        if not isinstance(config, Mapping) or key not in config:
            return None
        config = config[key]
    return config


def describe(overrides: Mapping[str, Any]) -> str:
    """The fields of a run, in words."""
    return ", ".join(f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
                     for key, value in overrides.items())


def _check_analysis(config: Mapping[str, Any]) -> None:
    """Refuses analyses between evaluations, where a population does not stop."""
    every, evaluate_every = config["analysis"]["every"], config["evaluate_every"]
    if config["analysis"]["measures"] and every and (
            not evaluate_every or every % evaluate_every):
        raise ConfigError(
            f"analysis.every={every}: must be a multiple of evaluate_every={evaluate_every} in a "
            "sweep; or 0 for the start and the end alone")


def _with_overrides(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    changed = _copy(base)
    for path, value in overrides.items():
        *parents, last = path.split(".")
        level, above = changed, ""
        for key in parents:
            above = f"{above}.{key}" if above else key
            if not isinstance(level.get(key), dict):
                raise config_lib.unknown_field(above, level)
            level = level[key]
        if last not in level:
            raise config_lib.unknown_field(path, level)
        if isinstance(level[last], dict):
            raise ConfigError(f"{path}: holds the fields {', '.join(level[last])}, not a value")
        level[last] = _plain(value)
    return changed


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own number."""
    return value.item() if hasattr(value, "item") else value


def _copy(tree: Any) -> Any:
    return {k: _copy(v) for k, v in tree.items()} if isinstance(tree, Mapping) else tree


def _fill(base: Mapping[str, Any], checked: Mapping[str, Any]) -> dict[str, Any]:
    """The base config with the defaults of a checked one where it leaves a field open."""
    return {key: _fill(base[key], value) if isinstance(value, Mapping) and key in base
            else value if base.get(key) is None else base[key] for key, value in checked.items()}


def _without(config: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    left = _copy(config)
    for path in paths:
        *parents, last = path.split(".")
        level = left
        for key in parents:
            level = level.get(key, {})
        level.pop(last, None)
    return left


def _program_key(config: Mapping[str, Any]) -> str:
    task = tasks.get(config["task"])
    traced = sorted(task.read_hyper(config))
    shared = _without(config, (*IRRELEVANT, "seed", *(task.HYPER[name] for name in traced
                                                      if name in task.HYPER)))
    return digest([traced, shared])


def digest(content: Any) -> str:
    """A short name for anything that JSON can hold."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
