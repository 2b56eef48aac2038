"""Prints the table of a sweep of this study.

    python -m experiments.citation_growth.report --workdir=runs/grow

    --workdir=DIR    of `nfnets_jax.sweep`
"""

from absl import flags

from experiments.citation_growth import results
from nfnets_jax import command_line
from nfnets_jax.sweeps import table as table_lib

_WORKDIR = flags.DEFINE_string("workdir", None, "Where the sweep is kept.")


def main(argv: list[str]) -> None:
    """Runs the program; the arguments are above."""
    if len(argv) != 1:
        command_line.fail("there are no arguments but --workdir; see --help")
    command_line.require(workdir=_WORKDIR.value)
    print("\n".join(results.markdown(table_lib.load(_WORKDIR.value))))


if __name__ == "__main__":
    command_line.run(main)
