"""The runs of a sweep of this study with their evaluations, and what is read off them.

Losses late in training are medians over the last quarter of a run's evaluations: at beta1 = 0.9 the
loss jumps by factors of 3 to 5 from one to the next.
"""

import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.adaptive_optimizers import methods
from nfnets_jax.sweeps import table as table_lib
from nfnets_jax.sweeps.plan import get_field

# Metric -> what it is called.
NAMES = {"train_loss": "training loss", "test_loss": "test loss", "test_accuracy": "test accuracy",
         "gradient_norm": "gradient norm", "lambda_min": "smallest eigenvalue",
         "lambda_max": "largest"}
# Fewer products of Lanczos are there for the norm of the gradient, and say nothing of eigenvalues.
_FEWEST_PRODUCTS = 20


class Cell(NamedTuple):
    """The runs with one optimizer and step size.

    Attributes:
      label: of the optimizer.
      rate: the step size.
      xi: of RMSProp and ADAM.
      runs: rows of the sweep's table by increasing seed, each with its evaluations as `curve`.
    """

    label: str
    rate: float
    xi: float | None
    runs: tuple[Mapping[str, Any], ...]

    def late(self, metric: str) -> list[float]:
        """Of each run the median over the last quarter of its evaluations; infinite if diverged.

        Raises:
          KeyError: if the runs have no such metric.
        """
        return [_late(run, metric) for run in self.runs]

    def median(self, metric: str) -> float:
        """Over the runs, of `late`."""
        return statistics.median(self.late(metric))


def load(workdir: str | os.PathLike) -> table_lib.Table:
    """The table of a sweep, finished or running, whose rows hold their evaluations as `curve`."""
    table = table_lib.load(workdir)
    for row in table.rows:
        row["curve"] = table_lib.load_curve(workdir, row)
    return table


def cells(table: table_lib.Table) -> list[Cell]:
    """The cells of a sweep that have been run, in its order.

    Args:
      table: whose rows hold their evaluations as `curve`.
    """
    found: dict[tuple, list] = {}
    for row in table.rows:
        if not row.get("curve"):
            continue
        run = {field: row.get(field, get_field(table.base, field)) for field in (
            methods.NAME, methods.RATE, methods.MOMENTUM, methods.BETA1, methods.BETA2, methods.XI)}
        key = methods.label(run), run[methods.RATE], run[methods.XI]
        found.setdefault(key, []).append(row)
    return [Cell(*key, tuple(sorted(rows, key=lambda row: row[methods.SEED])))
            for key, rows in found.items()]


def metrics(table: table_lib.Table) -> list[str]:
    """Those of `NAMES` that the runs of a sweep have."""
    names = set().union(*(row["curve"][-1] for row in table.rows if row.get("curve")))
    if get_field(table.base, "analysis.num_products") < _FEWEST_PRODUCTS:
        names -= {"lambda_min", "lambda_max"}
    return [name for name in NAMES if name in names]


def best(found: Iterable[Cell], label: str) -> Cell:
    """The cell of an optimizer with the smallest training loss."""
    return min((cell for cell in found if cell.label == label),
               key=lambda cell: cell.median("train_loss"))


def tuned(found: Iterable[Cell]) -> list[Cell]:
    """For each optimizer and xi the cell with the smallest training loss, in order."""
    groups: dict[tuple, list[Cell]] = {}
    for cell in found:
        groups.setdefault((cell.label, cell.xi), []).append(cell)
    return [min(group, key=lambda cell: cell.median("train_loss")) for group in groups.values()]


def trajectory(curve: Sequence[Mapping[str, Any]], metric: str) -> tuple[list[int], list[float]]:
    """The steps and the values of a metric, where it was measured.

    Raises:
      KeyError: if it never was.
    """
    points = [(point["step"], point[metric]) for point in curve if point.get(metric) is not None]
    if not points:
        raise KeyError(metric)
    steps, values = zip(*points, strict=True)
    return list(steps), list(values)


def _late(run: Mapping[str, Any], metric: str) -> float:
    if run["status"] == "diverged":
        return float("inf")
    values = trajectory(run["curve"], metric)[1]
    return statistics.median(values[-max(1, len(values) // 4):])
