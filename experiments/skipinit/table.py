"""Prints the table of a sweep of this study: best accuracy, and the learning rate that gave it.

    python -m experiments.skipinit.table --workdir=runs/depth
    python -m experiments.skipinit.table --workdir=runs/wide_resnet_depth --best_k=5

A row for each kind of block, a column for each depth, or for each batch size where those vary.
'not trainable': no learning rate of the grid gives twice the accuracy of chance.

    --workdir=DIR    of `nfnets_jax.sweep`, finished or running
    --best_k=K       a learning rate is scored by the mean of its best K seeds; default: of all
"""

import math

from absl import flags

from experiments.skipinit import methods
from nfnets_jax import command_line, data
from nfnets_jax.analysis import scoring
from nfnets_jax.sweeps import table as table_lib

_WORKDIR = flags.DEFINE_string("workdir", None, "Where the sweep is kept.")
_BEST_K = flags.DEFINE_integer("best_k", None, "Best seeds that count; default: all.",
                               lower_bound=1)


def main(argv: list[str]) -> None:
    """Runs the program; the flags are above."""
    if len(argv) > 1:
        command_line.fail(f"unexpected argument {argv[1]!r}; see --help")
    command_line.require(workdir=_WORKDIR.value)
    try:
        print("\n".join(markdown(table_lib.load(_WORKDIR.value), _BEST_K.value)))
    except ValueError as error:
        command_line.fail(f"--workdir={_WORKDIR.value}: {error}")


def markdown(swept: table_lib.Table, best_k: int | None = None) -> list[str]:
    """The lines of the table.

    Args:
      swept: of a sweep whose config is of this study.
      best_k: see `scoring.score`.

    Raises:
      ValueError: if no run has ended, or a network is none of `methods.METHODS`.
    """
    num_classes = data.info(swept.base["dataset"]["name"]).num_classes
    groups = scoring.score(swept, "test", best_k, num_classes).groups
    by_batch_size = "batch_size" in swept.varied
    cells: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for group in groups:
        name, depth = _describe(methods.network_of(swept.base, group.fields))
        column = f"batch {group.batch_size}" if by_batch_size else depth
        row = f"{name}, {depth}" if by_batch_size else name
        cells.setdefault(row, {})[column] = _format(group, 2 / num_classes)
        columns[column] = None
    lines = [" | ".join(["", *columns]), "---|" * len(columns) + "---"]
    lines += [" | ".join([row, *(found.get(column, "") for column in columns)])
              for row, found in cells.items()]
    return [f"| {line} |" if not line.startswith("---") else f"|{line}|" for line in lines]


def _describe(network: dict) -> tuple[str, str]:
    """What a network is called in the table: its method, and its depth."""
    name = methods.METHODS[methods.identify(network)]
    if network.get("dropout_rate"):
        name += ", regularized"
    kind = network["name"].split("_", 1)[1]
    if kind == "mlp":
        return name, f"d = {methods.count_blocks(network)}"
    return name, kind.replace("wrn_", "WRN ").replace("resnet", "ResNet-").replace("_", "-")


def _format(group: scoring.Group, usable: float) -> str:
    if group.optimum is None or group.optimum.score < usable:
        unfinished = any(cell.state == "unfinished" for cell in group.cells)
        return "" if unfinished else "not trainable"
    exponent = math.log2(group.optimum.learning_rate)
    return f"{100 * group.optimum.score:.1f} (2^{exponent:g})"


if __name__ == "__main__":
    command_line.run(main)
