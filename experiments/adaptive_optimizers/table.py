"""Prints the table of a sweep of this study: each optimizer at its best step size.

    python -m experiments.adaptive_optimizers.table --workdir=runs/full_batch

The best step size is that of the smallest training loss. Numbers are medians over the last quarter
of a run's evaluations and then over seeds; an asterisk marks a step size at an edge of its grid.

    --workdir=DIR    of `nfnets_jax.sweep`, finished or running
    --all            a row for every step size
"""

from absl import flags

from experiments.adaptive_optimizers import runs
from nfnets_jax import command_line
from nfnets_jax.sweeps import table as table_lib


def main(argv: list[str]) -> None:
    """Runs the program; the flags are below."""
    if len(argv) > 1:
        command_line.fail(f"unexpected argument {argv[1]!r}; see --help")
    command_line.require(workdir=_WORKDIR.value)
    swept = runs.load(_WORKDIR.value)
    if not runs.cells(swept):
        command_line.fail(f"--workdir={_WORKDIR.value}: no run has ended yet")
    print("\n".join(markdown(swept, _ALL.value)))


def markdown(swept: table_lib.Table, every_rate: bool = False) -> list[str]:
    """The lines of the table.

    Args:
      swept: whose rows hold their evaluations as `curve`.
      every_rate: whether there is a row for each step size, and not for the best of an optimizer.
    """
    found, metrics = runs.cells(swept), runs.metrics(swept)
    shown = found if every_rate else runs.tuned(found)
    columns = ["optimizer", "xi", "step size", *(runs.NAMES[metric] for metric in metrics)]
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
    # Not where it is imported beside another program with a flag of the same name.
    _WORKDIR = flags.DEFINE_string("workdir", None, "Where the sweep is kept.")
    _ALL = flags.DEFINE_bool("all", False, "A row for every step size.")
    command_line.run(main)
