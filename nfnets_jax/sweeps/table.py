"""The table of a sweep: one row for each run, only ever added to.

    sweep.json     the plan: the base config, the varied fields, the cells in order
    table.jsonl    one line for each run, `pandas.read_json(path, lines=True)`
    curves/        the evaluations of the runs, a file for each chunk
    chunks.jsonl   what each chunk took: seconds, compilation, worker
    journal/       rows on their way into the table

The rows of a chunk enter together or not at all: they are written to the journal first, as one
file, and whoever opens the folder next puts into the table what was left there. All functions that
change the folder are to be called under `leases.exclusive`.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nfnets_jax.sweeps.plan import Cell, Plan, get_field
from nfnets_jax.training.workdir import WorkdirError, write_atomically

Row = dict[str, Any]
# What a run can have come to; a run without a row is 'missing'.
STATUSES = ("done", "dead", "diverged", "crashed")


class Table(NamedTuple):
    """A sweep as it stands.

    Attributes:
      rows: one for each cell of the plan, in its order: `cell`, `program`, every varied field by
        its path, `status` (`STATUSES` or 'missing') and, once it has run, `steps`, `examples`,
        `diverged_at`, the metrics of the last evaluation and the best ones, `curve`, `error`.
      varied: the varied fields.
      base: the config that the varied fields change.
    """

    rows: list[Row]
    varied: tuple[str, ...]
    base: dict[str, Any]


def identify(plan: Plan, cell: Cell, program_key: str) -> Row:
    """The first columns of a row: which run it is."""
    return {"cell": cell.key, "program": program_key,
            **{field: cell.overrides.get(field, get_field(cell.config, field))
               for field in plan.varied}}


def write_plan(workdir: Path, plan: Plan) -> None:
    """Keeps the plan that the folder is working on, in place of an earlier one."""
    cells = [identify(plan, cell, program.key)
             for program in plan.programs for cell in program.cells]
    text = "{\n" + ",\n".join([
        f'"varied": {json.dumps(plan.varied)}',
        f'"base": {json.dumps(plan.base, indent=2)}',
        '"cells": [\n' + ",\n".join(json.dumps(cell) for cell in cells) + "\n]"]) + "\n}\n"
    file = workdir / "sweep.json"
    if not file.exists() or file.read_text() != text:
        write_atomically(file, text)


def recover(workdir: Path) -> None:
    """Puts the table in order after a worker was killed: no half line, and no row left behind."""
    for name in ("table.jsonl", "chunks.jsonl"):
        with (workdir / name).open("ab+") as stream:
            stream.seek(0)
            content = stream.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                stream.truncate(whole)
    file = workdir / "table.jsonl"
    for journal in sorted((workdir / "journal").glob("*.jsonl")):
        rows = journal.read_text().splitlines()
        there = set(file.read_text().splitlines())
        _append(file, [row for row in rows if row not in there])
        journal.unlink()


def commit(workdir: Path, chunk_key: str, rows: Iterable[Row], log: Mapping[str, Any]) -> None:
    """Adds the rows of a chunk to the table, all of them, whatever happens meanwhile."""
    recover(workdir)
    lines = [json.dumps(row) for row in rows]
    journal = workdir / "journal" / f"{chunk_key}.jsonl"
    write_atomically(journal, "".join(line + "\n" for line in lines))
    _append(workdir / "table.jsonl", lines)
    _append(workdir / "chunks.jsonl", [json.dumps(log)])
    journal.unlink()


def read_rows(workdir: Path) -> dict[str, Row]:
    """The last row of every cell that has one."""
    return {row["cell"]: row for row in _read_lines(workdir / "table.jsonl")}


def read_log(workdir: Path) -> list[dict[str, Any]]:
    """What each chunk took, in the order in which they ended."""
    return _read_lines(workdir / "chunks.jsonl")


def load(workdir: str | os.PathLike) -> Table:
    """Reads the table of a sweep, also while it is running.

    Raises:
      WorkdirError: if the folder holds no sweep.
    """
    workdir = Path(workdir)
    try:
        plan = json.loads((workdir / "sweep.json").read_text())
    except OSError as error:
        raise WorkdirError(
            f"--workdir={workdir}: holds no sweep ({workdir / 'sweep.json'}: {error.strerror})"
        ) from error
    except ValueError as error:
        raise WorkdirError(f"--workdir={workdir}: sweep.json is not valid JSON ({error})"
                           ) from error
    rows = read_rows(workdir)
    missing = {"status": "missing"}
    return Table([{**cell, **rows.get(cell["cell"], missing)} for cell in plan["cells"]],
                 tuple(plan["varied"]), plan["base"])


def assemble(workdir: Path, plan: Plan) -> Table:
    """The table of a plan, which need not be the one that the folder holds."""
    rows, missing = read_rows(workdir), {"status": "missing"}
    return Table([{**identify(plan, cell, program.key), **rows.get(cell.key, missing)}
                  for program in plan.programs for cell in program.cells], plan.varied, plan.base)


def load_curve(workdir: str | os.PathLike, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The evaluations of a run: `[{'step': 0, 'train_loss': 2.3, ...}, ...]`; empty if none."""
    if not row.get("curve"):
        return []
    curves = _read_lines(Path(workdir) / row["curve"])
    return next((curve["evaluations"] for curve in curves if curve["cell"] == row["cell"]), [])


def write_curves(workdir: Path, chunk_key: str, curves: Mapping[str, list[dict]]) -> str:
    """Writes the evaluations of a chunk's runs; returns the file's name in the folder."""
    name = f"curves/{chunk_key}.jsonl"
    write_atomically(workdir / name, "".join(
        json.dumps({"cell": cell, "evaluations": curve}) + "\n" for cell, curve in curves.items()))
    return name


def _append(file: Path, lines: list[str]) -> None:
    with file.open("a") as stream:
        stream.write("".join(line + "\n" for line in lines))
        stream.flush()
        os.fsync(stream.fileno())


def _read_lines(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a file that may be growing; a last one that is cut off is left out."""
    if not file.exists():
        return []
    text = file.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
