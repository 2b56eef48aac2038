"""What the sweeps of this study have measured: tables of errors, histograms of walks."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.quantized import methods
from nfnets_jax.analysis import rounding_chain
from nfnets_jax.reports import quantized
from nfnets_jax.sweeps.plan import get_field
from nfnets_jax.sweeps.table import Row, Table
from nfnets_jax.tasks import quantized_walk

RATE, ROUNDING = "optimizer.learning_rate", "quantization.rounding"


def groups_of(swept: Table) -> dict[tuple, list[Row]]:
    """The finished runs by the values of the varied fields but the seed, in the sweep's order."""
    groups: dict[tuple, list[Row]] = {}
    for row in swept.rows:
        if row["status"] == "done":
            groups.setdefault(tuple(row[field] for field in _fields(swept)), []).append(row)
    return groups


def mean(rows: Sequence[Mapping], metric: str) -> float:
    """Mean of a metric over runs."""
    return float(np.mean([row[metric] for row in rows]))


def error(rows: Sequence[Mapping], role: str = "test") -> float:
    """Mean error in percent; `role` is test or train."""
    return 100.0 * (1.0 - mean(rows, f"{role}_accuracy"))


def markdown(swept: Table) -> list[str]:
    """The lines of a table: a row for each combination of the varied fields but the seed.

    Errors are means over the seeds in percent, with the standard deviation behind +-; 'changed' is
    the share of quantized weights that differ from the start, 'flips' how often one has changed.
    """
    titles = [*(field.split(".")[-1].replace("_", " ") for field in _fields(swept)), "test error",
              "train error", "train loss", "changed", "flips"]
    labels = {"none": methods.LABELS["float"], **methods.LABELS}
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for values, rows in groups_of(swept).items():
        shown = [labels.get(value, value) if isinstance(value, str) else f"{value:g}"
                 for value in values]
        spread = 100.0 * np.std([row["test_accuracy"] for row in rows], ddof=min(1, len(rows) - 1))
        shown += [f"{error(rows):.2f} +- {spread:.2f}", f"{error(rows, 'train'):.2f}",
                  f"{mean(rows, 'train_loss'):.4f}"]
        for metric in ("test_changed_fraction", "test_flips_per_weight"):
            shown.append(f"{mean(rows, metric):.3f}" if metric in rows[0] else "")
        lines.append("| " + " | ".join(shown) + " |")
    return lines


def draw_walks(swept: Table, path: str | os.PathLike) -> None:
    """Draws the histograms of a sweep of `wells.py`: BinaryConnect, and stochastic rounding.

    Raises:
      ValueError: if a run has not ended, or the suffix of the path names no format.
    """
    function = quantized_walk.wells()
    noise = rounding_chain.Gaussian(get_field(swept.base, "noise_std"))
    rows: dict[str, dict[str, quantized.Histogram]] = {
        "BinaryConnect": {}, "stochastic rounding": {}}
    for row in swept.rows:
        title = f"learning rate {row[RATE]:g}"
        if row[methods.METHOD] == "stochastic":
            points, shares = shares_of(row)
            law = rounding_chain.stationary(rounding_chain.transition_matrix(
                points, slope(function, points), row[RATE], noise))
            rows["stochastic rounding"][title] = quantized.Histogram(points, shares, law)
        elif row[methods.METHOD] == "binary_connect" and row[ROUNDING] != "stochastic":
            rows["BinaryConnect"][title] = quantized.Histogram(*shares_of(row))
    quantized.plot(rows, path, lambda w: np.asarray(function.value(w[:, None])))


def shares_of(row: Row) -> tuple[np.ndarray, np.ndarray]:
    """The points of the grid of a walk [n], ascending, and the share of its steps at each [n].

    Raises:
      ValueError: if the run has not ended.
    """
    prefix = "test_" + quantized_walk.SHARE
    found = sorted((float(name.removeprefix(prefix)), value) for name, value in row.items()
                   if name.startswith(prefix))
    if row["status"] != "done" or not found:
        raise ValueError(f"the run {row['cell']} is {row['status']}; run the sweep to its end")
    points, shares = zip(*found, strict=True)
    return np.array(points), np.array(shares)


def slope(function: quantized_walk.Function, points: np.ndarray) -> np.ndarray:
    """The gradient [n] at points [n] of the line."""
    return np.asarray(function.gradient(points[:, None]), np.float64)[:, 0]


def _fields(swept: Table) -> list[str]:
    return [field for field in swept.varied if field != "seed"]
