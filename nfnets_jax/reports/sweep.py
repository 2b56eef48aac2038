"""The report of a sweep: one HTML page that needs nothing beside it, its figures, its numbers.

    index.html      tables and figures; read without scripts and without a network
    figures/        the figures as PNG, and a CSV with the numbers of each
    runs.csv        every run
"""

import base64
import csv
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import matplotlib

from nfnets_jax import data
from nfnets_jax.reports import figures, sweep_figures, sweep_tables
from nfnets_jax.reports.sweep_tables import Study
from nfnets_jax.sweeps import table as table_lib
from nfnets_jax.training.workdir import write_atomically

PAGE = "index.html"
_COLUMN = 7.0  # inches of a figure that fits one column of the page
_LOOK = {"font.size": 10, "axes.titlesize": 11, "axes.labelsize": 10, "hatch.linewidth": 0.6}


class Options(NamedTuple):
    """What the runs are compared by.

    Attributes:
      select_on: 'test', 'valid', 'train', or the name of a metric.
      best_k: how many of the seeds count; None for all.
    """

    select_on: str = "test"
    best_k: int | None = None


_DEFAULTS = Options()


def summarize(table: table_lib.Table, options: Options = _DEFAULTS) -> str:
    """The rule of selection, the best learning rates and their scaling, as text.

    Raises:
      ValueError: for options that do not fit the table; says what would.
    """
    of = _create_study(table, options)
    tables = filter(None, (sweep_tables.optima(of), sweep_tables.scaling(of)))
    return "\n\n".join([sweep_tables.rule(of), *map(sweep_tables.align, tables)])


def write(workdir: str | os.PathLike, table: table_lib.Table, output: str | os.PathLike,
          options: Options = _DEFAULTS) -> Path:
    """Draws the report of a sweep.

    Args:
      workdir: of the sweep, for the curves of its runs.
      table: of the sweep.
      output: the folder of the report, or its page, ending in .html.
      options: see there.

    Returns:
      The path of the page.

    Raises:
      ValueError: for options that do not fit the table; says what would.
    """
    output = Path(output)
    page = output if output.suffix == ".html" else output / PAGE
    of = _create_study(table, options)
    (page.parent / "figures").mkdir(parents=True, exist_ok=True)
    drawn = []
    with matplotlib.rc_context(_LOOK):
        for drawing in sweep_figures.draw(of, lambda row: table_lib.load_curve(workdir, row)):
            path = page.parent / "figures" / f"{drawing.name}.png"
            figures.save(drawing.figure, path)
            _write_csv(path.with_suffix(".csv"), drawing.records)
            drawn.append({"name": drawing.name, "caption": drawing.caption,
                          "wide": drawing.figure.get_figwidth() > _COLUMN,
                          "png": base64.b64encode(path.read_bytes()).decode()})
    _write_csv(page.parent / "runs.csv", table.rows)
    write_atomically(page, _render(of, Path(workdir).resolve().name, drawn))
    return page


def _create_study(table: table_lib.Table, options: Options) -> Study:
    return sweep_tables.create_study(table, options.select_on, options.best_k, _num_classes(table))


def _render(of: Study, title: str, drawn: Sequence[Mapping[str, str]]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nfnets_jax.reports", "."), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    failures, num_failures = sweep_tables.failures(of)
    counts = Counter(row["status"] for row in of.table.rows)
    return environment.get_template("sweep.html").render(
        title=title,
        headline=sweep_tables.headline(of),
        counts=counts,
        num_runs=len(of.table.rows),
        rule=sweep_tables.rule(of),
        on_test=of.scores.metric.startswith("test_"),
        seen_best=of.scores.best_k is not None,
        optima=sweep_tables.optima(of),
        scaling=sweep_tables.scaling(of),
        figures=drawn,
        failures=failures,
        num_failures=num_failures,
        runs=sweep_tables.runs(of),
        config=json.dumps(of.table.base, indent=2, sort_keys=True),
    )


def _num_classes(table: table_lib.Table) -> int | None:
    """Of the base config's data set; None if that has no classes."""
    try:
        return data.info(table.base["dataset"]["name"]).num_classes
    except (KeyError, TypeError, ValueError):
        return None


def _write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    names = list(dict.fromkeys(name for record in records for name in record))
    temporary = path.with_suffix(".csv.partial")
    with temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, names, restval="")
        writer.writeheader()
        writer.writerows(records)
    os.replace(temporary, path)
