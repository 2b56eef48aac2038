"""Histograms of weights on a grid (after figure 2 of arXiv 1706.02379, recalled)."""

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nfnets_jax.reports import figures


class Histogram(NamedTuple):
    """Where the walks of one panel have been.

    Attributes:
      points: [n], of the grid, ascending.
      shares: [n], of the steps at each; they sum to 1. Drawn as bars.
      law: [n], the exact stationary law, drawn as dots; None where there is none.
    """

    points: np.ndarray
    shares: np.ndarray
    law: np.ndarray | None = None


def plot(
    rows: Mapping[str, Mapping[str, Histogram]],
    path: str | os.PathLike,
    function: Callable[[np.ndarray], np.ndarray] | None = None,
) -> None:
    """Writes histograms; the file appears complete or not at all.

    Args:
      rows: label of a row -> title of a column -> what its panel shows; all rows have the columns
        of the first.
      path: of the image; its suffix says the format (.png, .pdf or .svg).
      function: what is minimised, [m] to [m], drawn behind the bars on an axis of its own.

    Raises:
      ValueError: if a row has other columns than the first, or the suffix names no format.
    """
    figures.check_format(path)
    first, *others = rows
    columns = list(rows[first])
    for label in others:
        if list(rows[label]) != columns:
            raise ValueError(f"the row {label!r} has the columns {list(rows[label])}; all must "
                             f"have those of {first!r}, {columns}")
    figure = Figure(figsize=(1.2 + 2.6 * len(columns), 0.9 + 1.8 * len(rows)),
                    layout="constrained")
    panels = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
    for (label, histograms), row_axes in zip(rows.items(), panels, strict=True):
        for (title, histogram), axes in zip(histograms.items(), row_axes, strict=True):
            _draw(histogram, axes, function)
            if label == first:
                axes.set_title(title, fontsize="medium")
        row_axes[0].set_ylabel(f"{label}\nshare of steps")
    for axes in panels[-1]:
        axes.set_xlabel("w")
    handles = {artist.get_label(): artist for axes in panels.flat
               for artist in (*axes.containers, *axes.get_lines())}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2,
                  frameon=False)
    figures.save(figure, path)


def _draw(histogram: Histogram, axes: Axes, function) -> None:
    points = np.asarray(histogram.points, float)
    axes.bar(points, histogram.shares, width=0.8 * np.min(np.diff(points)), color="tab:blue",
             label="simulated")
    if histogram.law is not None:
        axes.plot(points, histogram.law, ".", color="tab:orange", markersize=4,
                  label="exact stationary law")
    axes.set_ylim(0.0, 1.0)
    axes.spines[["top", "right"]].set_visible(False)
    if function is not None:
        behind = axes.twinx()
        w = np.linspace(points[0], points[-1], 601)
        behind.plot(w, function(w), color="0.8", linewidth=1)
        behind.set_ylim(0.0, 8.0 * np.min(function(w)) + 6.0)
        behind.axis("off")
        axes.set_zorder(behind.get_zorder() + 1)
        axes.patch.set_visible(False)
