"""Draws a sweep of this study: each optimizer at its best step size, against the step.

    python -m experiments.adaptive_optimizers.figure --workdir=runs/full_batch \\
        --output=docs/figures/adaptive_optimizers_full_batch.png

Lines are medians over seeds, between the smallest and the largest of them. The best step size is
that of the smallest training loss late in training.

    --workdir=DIR    of `nfnets_jax.sweep`, finished or running
    --output=FILE    .png, .pdf or .svg; default: adaptive_optimizers.png
"""

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from experiments.adaptive_optimizers import runs
from nfnets_jax import command_line
from nfnets_jax.reports import figures
from nfnets_jax.sweeps import table as table_lib

_WORKDIR = flags.DEFINE_string("workdir", None, "Where the sweep is kept.")
_OUTPUT = flags.DEFINE_string("output", "adaptive_optimizers.png", "File to draw into.")


def main(argv: list[str]) -> None:
    """Runs the program; the flags are above."""
    if len(argv) > 1:
        command_line.fail(f"unexpected argument {argv[1]!r}; see --help")
    command_line.require(workdir=_WORKDIR.value)
    try:
        figures.check_format(_OUTPUT.value)
    except ValueError as error:
        command_line.fail(f"--output={error}")
    swept = runs.load(_WORKDIR.value)
    if not runs.cells(swept):
        command_line.fail(f"--workdir={_WORKDIR.value}: no run has ended yet")
    figures.save(draw(swept), _OUTPUT.value)
    print(f"drew {_OUTPUT.value}")


def draw(swept: table_lib.Table) -> Figure:
    """A panel for each metric that was measured, a line for each optimizer and xi.

    Args:
      swept: whose rows hold their evaluations as `curve`.
    """
    shown = runs.tuned(runs.cells(swept))
    metrics = [metric for metric in runs.metrics(swept) if metric != "lambda_max"]
    has_xi = len({cell.xi for cell in shown if cell.label == shown[0].label}) > 1
    figure = Figure(figsize=(3.6 * len(metrics), 3.8), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(metrics)))
    for axes, metric in zip(panels, metrics, strict=True):
        axes.set(title=runs.NAMES[metric], xlabel="step",
                 yscale="linear" if metric == "test_accuracy" else "log")
        if metric == "lambda_min":
            axes.set_yscale("symlog", linthresh=1e-3)
        for cell in shown:
            curves = [runs.trajectory(run["curve"], metric) for run in cell.runs
                      if run["status"] != "diverged"]
            if not curves:
                continue
            steps, values = curves[0][0], np.array([curve for _, curve in curves])
            name = f"{cell.label}, {cell.rate:g}" + (f", xi = {cell.xi:g}" if has_xi else "")
            line, = axes.plot(steps, np.median(values, axis=0), label=name, lw=1.3)
            axes.fill_between(steps, values.min(axis=0), values.max(axis=0), lw=0, alpha=0.15,
                              color=line.get_color())
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    command_line.run(main)
