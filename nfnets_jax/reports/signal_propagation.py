"""Signal propagation plots (Brock et al. 2021, arXiv 2101.08692, section 3)."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nfnets_jax.reports import figures

_PANELS = (
    ("average_squared_mean", "Squared mean of block output"),
    ("average_variance", "Variance of block output"),
    ("residual_variance", "Variance of residual branch"),
)


class Row(NamedTuple):
    """One network of a figure.

    Attributes:
      label: at the left of its panels, or above a single row.
      measured: as returned by `analysis.signal_propagation.measure`; drawn as dots.
      expected: as returned by `nets.expected_variance`; drawn as a line where it is finite. A drop
        of its variance is where a stage begins. None draws no prediction.
    """

    label: str
    measured: Mapping[str, Sequence[float]]
    expected: Mapping[str, Sequence[float]] | None


def plot(
    measured: Mapping[str, Sequence[float]],
    expected: Mapping[str, Sequence[float]] | None,
    path: str | os.PathLike,
    title: str,
) -> None:
    """Writes the signal propagation plot of one network; see `Row` and `plot_rows`."""
    plot_rows([Row(title, measured, expected)], path)


def plot_rows(rows: Sequence[Row], path: str | os.PathLike) -> None:
    """Writes signal propagation plots: each quantity averaged over channels, against the block.

    The file appears complete or not at all. In the first two panels index 0 is the stem's output
    and index l the output of block l; the third shows the branch of block l at index l. Where a
    quantity spans more than three orders of magnitude its axis is logarithmic.

    Args:
      rows: one for each network, each drawn as three panels.
      path: of the image; its suffix says the format (.png, .pdf or .svg).

    Raises:
      ValueError: if a quantity is missing from a measurement, if its length does not agree with
        that of the prediction, or if the suffix names no format that can be written.
    """
    figures.check_format(path)
    figure = Figure(figsize=(12.0, 1.0 + 2.6 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 3, squeeze=False)
    for row, row_axes in zip(rows, panels, strict=True):
        _draw_row(row, row_axes)
        if len(rows) == 1:
            figure.suptitle(row.label)
        else:
            row_axes[0].set_ylabel(row.label)
    for axes, (_, label) in zip(panels[0], _PANELS, strict=True):
        axes.set_title(label, fontsize="medium")
    for axes in panels[-1]:
        axes.set_xlabel("block (0: stem)")
    handles = {line.get_label(): line for axes in panels.flat for line in axes.get_lines()}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2,
                  frameon=False)
    figures.save(figure, path)


def _draw_row(row: Row, row_axes: Sequence[Axes]) -> None:
    missing = sorted({name for name, _ in _PANELS} - set(row.measured))
    if missing:
        raise ValueError(f"measured has no {', '.join(missing)}; pass what measure() returns")
    for axes, (name, _) in zip(row_axes, _PANELS, strict=True):
        values = np.asarray(row.measured[name], float)
        blocks = np.arange(len(values)) + (1 if name == "residual_variance" else 0)
        if row.expected is not None:
            prediction = np.asarray(row.expected[name], float)
            if prediction.shape != values.shape:
                raise ValueError(
                    f"expected[{name!r}] has {prediction.size} values and measured has "
                    f"{values.size}; both must be of the same network"
                )
            axes.plot(blocks, prediction, color="tab:orange", linewidth=1.5, label="predicted")
        size = 6 if len(values) < 60 else 3
        axes.plot(blocks, values, ".", color="tab:blue", markersize=size, label="measured")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        _set_scale(axes, values)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3, linewidth=0.5)


def _set_scale(axes: Axes, values: np.ndarray) -> None:
    positive = values[np.isfinite(values) & (values > 0)]
    if positive.size and positive.max() > 1e3 * max(positive.min(), 1e-2):
        axes.set_yscale("log")
        return
    data = np.concatenate([line.get_ydata() for line in axes.get_lines()])
    # At least 0.1, so that a squared mean of nearly zero looks like nearly zero.
    upper = max(1.08 * data[np.isfinite(data)].max(initial=0.0), 0.1)
    axes.set_ylim(-0.03 * upper, upper)
