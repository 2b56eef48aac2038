"""Prints the table of a sweep of this study: each optimizer at its best step size.

    python -m experiments.adaptive_optimizers.table --workdir=runs/full_batch

The best step size is that of the smallest training loss. Numbers are medians over the last quarter
of a run's evaluations and then over seeds; an asterisk marks a step size at an edge of its grid.

    --workdir=DIR    of `nfnets_jax.sweep`, finished or running
    --all            a row for every step size
"""

from collections.abc import Sequence

from absl import flags

from experiments.adaptive_optimizers import runs
from nfnets_jax import command_line

_WORKDIR = flags.DEFINE_string("workdir", None, "Where the sweep is kept.")
_ALL = flags.DEFINE_bool("all", False, "A row for every step size.")

NAMES = {"train_loss": "training loss", "test_loss": "test loss", "test_accuracy": "test accuracy",
         "gradient_norm": "gradient norm", "lambda_min": "smallest eigenvalue",
         "lambda_max": "largest"}


def main(argv: list[str]) -> None:
    """Runs the program; the flags are above."""
    if len(argv) > 1:
        command_line.fail(f"unexpected argument {argv[1]!r}; see --help")
    command_line.require(workdir=_WORKDIR.value)
    found = runs.cells(runs.load(_WORKDIR.value))
    if not found:
        command_line.fail(f"--workdir={_WORKDIR.value}: no run has ended yet")
    print("\n".join(markdown(found, _ALL.value)))


def markdown(found: Sequence[runs.Cell], every_rate: bool = False) -> list[str]:
    """The lines of the table.

    Args:
      found: the cells of a sweep.
      every_rate: whether there is a row for each cell, and not for the best of its optimizer.
    """
    shown = found if every_rate else runs.tuned(found)
    metrics = shown[0].metrics
    columns = ["optimizer", "xi", "step size", *(NAMES[metric] for metric in metrics)]
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for cell in shown:
        rates = [other.rate for other in found if (other.label, other.xi) == (cell.label, cell.xi)]
        at_edge = len(rates) > 1 and cell.rate in (min(rates), max(rates))
        numbers = [f"{cell.median(metric):.3g}" for metric in metrics]
        xi = "" if cell.xi is None else f"{cell.xi:g}"
        lines.append("| " + " | ".join(
            [cell.label, xi, f"{cell.rate:g}{'*' if at_edge else ''}", *numbers]) + " |")
    return lines


if __name__ == "__main__":
    command_line.run(main)
