"""Prints the table of a sweep of this study, or draws the histograms of `wells.py`.

    python -m experiments.quantized.report table --workdir=runs/quantized
    python -m experiments.quantized.report walks --workdir=runs/wells

    table    errors, losses, and how many weights have changed, for each method
    walks    a row for BinaryConnect and one for stochastic rounding with its exact law, a column
             for each learning rate

    --workdir=DIR    of `nfnets_jax.sweep`; of walks, finished
    --output=FILE    of walks: .png, .pdf or .svg; default docs/figures/quantized_walks.png
"""

from absl import flags

from experiments.quantized import results
from nfnets_jax import command_line
from nfnets_jax.sweeps import table as table_lib

_WORKDIR = flags.DEFINE_string("workdir", None, "Where the sweep is kept.")
_OUTPUT = flags.DEFINE_string("output", "docs/figures/quantized_walks.png", "File to draw into.")


def main(argv: list[str]) -> None:
    """Runs the program; the arguments are above."""
    if len(argv) != 2 or argv[1] not in ("table", "walks"):
        command_line.fail("name one report: table or walks; see --help")
    command_line.require(workdir=_WORKDIR.value)
    swept = table_lib.load(_WORKDIR.value)
    if argv[1] == "table":
        print("\n".join(results.markdown(swept)))
        return
    try:
        results.draw_walks(swept, _OUTPUT.value)
    except ValueError as error:
        command_line.fail(error)
    print(f"drew {_OUTPUT.value}")


if __name__ == "__main__":
    command_line.run(main)
