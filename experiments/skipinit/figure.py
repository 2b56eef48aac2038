"""Draws the variances of residual networks before training, measured and in closed form.

    python -m experiments.skipinit.figure

100 blocks of 512 channels, 1,024 examples, one seed; dots are measured, lines are the closed forms
of signal.py. A quarter of a minute on two CPU cores.

    --output=FILE    .png, .pdf or .svg; default docs/figures/skipinit_variances.png
"""

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from experiments.skipinit import signal
from nfnets_jax import command_line
from nfnets_jax.reports import figures

_OUTPUT = flags.DEFINE_string("output", "docs/figures/skipinit_variances.png", "File to draw into.")

DEPTH = 100
CASES = {"no norm": ("none", 1.0), "sum / sqrt(2)": ("sqrt2", 1.0), "BN": ("bn", 1.0),
         "SkipInit, 1/sqrt(d)": ("skipinit", DEPTH**-0.5)}
DOTS = 5  # a dot for every so many blocks


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
    """Variance at each depth, and the branch's share of it."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, title in ((left, "Variance of the output of block l"),
                        (right, "Share of the branch in the output of block l")):
        axes.set(title=title, xlabel="l", yscale="log")
    for label, (kind, alpha) in CASES.items():
        measured = signal.measure(
            kind, depth=DEPTH, width=512, batch_size=1024, seed=0, alpha=alpha)
        blocks = np.arange(1, DEPTH + 1)
        for axes, values, expected in (
                (left, measured.variance[1:], signal.expected_variance(kind, DEPTH, alpha)[1:]),
                (right, measured.shares, signal.expected_shares(kind, DEPTH, alpha))):
            line, = axes.plot(blocks, expected, lw=1)
            axes.plot(blocks[::DOTS], values[::DOTS], "o", ms=3, color=line.get_color(),
                      label=label)
    left.set_ylim(0.3, 1e6)  # without a norm it ends at 2^100
    left.legend(frameon=False)
    return figure


if __name__ == "__main__":
    command_line.run(main)
