"""Draws where the walks of `wells.py` have been, beside the exact law of stochastic rounding.

    python -m nfnets_jax.sweep --config=experiments/quantized/wells.py --workdir=runs/wells
    python -m experiments.quantized.figure --workdir=runs/wells

A row for BinaryConnect, a row for stochastic rounding, a column for each learning rate.

    --workdir=DIR    of the sweep, finished
    --output=FILE    .png, .pdf or .svg; default docs/figures/quantized_wells.png
"""

import os

import numpy as np
from absl import flags

from nfnets_jax import command_line
from nfnets_jax.analysis import rounding_chain
from nfnets_jax.reports import figures, quantized
from nfnets_jax.sweeps import table as table_lib
from nfnets_jax.sweeps.plan import get_field
from nfnets_jax.tasks import quantized_walk

_WORKDIR = flags.DEFINE_string("workdir", None, "Where the sweep is kept.")
_OUTPUT = flags.DEFINE_string("output", "docs/figures/quantized_wells.png", "File to draw into.")

METHOD, RATE = "quantization.method", "optimizer.learning_rate"
ROUNDING = "quantization.rounding"


def main(argv: list[str]) -> None:
    """Runs the program; the flags are above."""
    if len(argv) > 1:
        command_line.fail(f"unexpected argument {argv[1]!r}; see --help")
    command_line.require(workdir=_WORKDIR.value)
    try:
        figures.check_format(_OUTPUT.value)
    except ValueError as error:
        command_line.fail(f"--output={error}")
    table = table_lib.load(_WORKDIR.value)
    try:
        draw(table, _OUTPUT.value)
    except ValueError as error:
        command_line.fail(f"--workdir={_WORKDIR.value}: {error}")
    print(f"drew {_OUTPUT.value}")


def draw(table: table_lib.Table, path: str | os.PathLike) -> None:
    """Draws the figure of a sweep of `wells.py`.

    Raises:
      ValueError: if a run is missing, or there is none of these methods.
    """
    function = quantized_walk.wells()
    rows: dict[str, dict[str, quantized.Histogram]] = {
        "BinaryConnect": {}, "stochastic rounding": {}}
    for row in table.rows:
        if row[METHOD] == "stochastic":
            panels = rows["stochastic rounding"]
        elif row[METHOD] == "binary_connect" and row[ROUNDING] != "stochastic":
            panels = rows["BinaryConnect"]
        else:
            continue
        points, shares = shares_of(row)
        law = None
        if row[METHOD] == "stochastic":
            noise = rounding_chain.Gaussian(get_field(table.base, "noise_std"))
            law = rounding_chain.stationary(rounding_chain.transition_matrix(
                points, slope(function, points), row[RATE], noise))
        panels[f"learning rate {row[RATE]:g}"] = quantized.Histogram(points, shares, law)
    quantized.plot(rows, path, lambda w: np.asarray(function.value(w[:, None])))


def shares_of(row: table_lib.Row) -> tuple[np.ndarray, np.ndarray]:
    """The points of a run's grid, ascending, and the share of its steps at each.

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
    """The gradient at points [n] of the line."""
    return np.asarray(function.gradient(points[:, None]), np.float64)[:, 0]


if __name__ == "__main__":
    command_line.run(main)
