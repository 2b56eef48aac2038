"""Draws the smallest cosine between gradients of examples before training, over depth and width.

    python -m experiments.gradient_confusion.figure

The networks of initialization.py, 20 seeds; a quarter of a minute on two CPU cores. The line of the
orthogonal networks is that of a linear model, whatever their depth.

    --output=FILE    .png, .pdf or .svg; default docs/figures/gradient_confusion_initialization.png
"""

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from experiments.gradient_confusion import initialization
from nfnets_jax import command_line
from nfnets_jax.analysis import confusion_theory
from nfnets_jax.reports import figures

_OUTPUT = flags.DEFINE_string(
    "output", "docs/figures/gradient_confusion_initialization.png", "File to draw into.")

NUM_MATRICES = (1, 2, 3, 5, 9, 17, 33, 65)
WIDTHS = (16, 64, 256)
SEEDS = range(20)


def main(argv: list[str]) -> None:
    """Runs the program; the flag is above."""
    if len(argv) > 1:
        command_line.fail(f"unexpected argument {argv[1]!r}; see --help")
    try:
        figures.check_format(_OUTPUT.value)
    except ValueError as error:
        command_line.fail(f"--output={error}")
    figures.save(draw(), _OUTPUT.value)
    print(f"drew {_OUTPUT.value}")


def draw() -> Figure:
    """A panel for each kind of network, a line for each width; the bars are deviations of seeds."""
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    panels = {"linear": "linear", "tanh": "tanh", "relu": "ReLU"}
    median = confusion_theory.sphere_median(initialization.NUM_EXAMPLES, initialization.DIM)
    for axes, (kind, title) in zip(figure.subplots(1, 3, sharey=True), panels.items(), strict=True):
        axes.set(title=title, xlabel="matrices", xscale="log", ylim=(-1.02, 0))
        axes.axhline(-median, color="0.7", lw=1, label="linear model, theory")
        lines = [(kind, width, f"width {width}") for width in WIDTHS]
        if kind == "linear":
            lines.append(("orthogonal", initialization.DIM, "orthogonal"))
        for drawn, width, label in lines:
            found = [initialization.measure(drawn, num_matrices=n, width=width, seeds=SEEDS).minimum
                     for n in NUM_MATRICES]
            axes.errorbar(NUM_MATRICES, np.mean(found, 1), np.std(found, 1, ddof=1), lw=1,
                          marker="o", ms=3, capsize=2, label=label,
                          ls=":" if drawn == "orthogonal" else "-")
        axes.set_xticks(NUM_MATRICES, map(str, NUM_MATRICES))
        axes.minorticks_off()
        axes.legend(frameon=False, fontsize="small")
    figure.axes[0].set_ylabel("smallest cosine")
    return figure


if __name__ == "__main__":
    command_line.run(main)
