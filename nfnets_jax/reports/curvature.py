"""Pictures of a Hessian: its spectral density, and its smallest eigenvalue during training."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from nfnets_jax.analysis import curvature
from nfnets_jax.reports import figures


class Track(NamedTuple):
    """What became of the curvature of one run.

    Attributes:
      steps: [n], after how many steps it was measured.
      lambda_min, lambda_max: [n], of the Hessian.
      gradient_norm: [n].
    """

    steps: Sequence[int]
    lambda_min: Sequence[float]
    lambda_max: Sequence[float]
    gradient_norm: Sequence[float]


def plot_density(values: np.ndarray, weights: np.ndarray, path: str | os.PathLike,
                 title: str, width: float | None = None) -> None:
    """Draws the spectral density on a logarithmic axis; the file appears complete or not at all.

    Args:
      values, weights, width: as for `analysis.curvature.density`.
      path: of the picture; its suffix says the format.
      title: above it.

    Raises:
      ValueError: if the suffix names no format.
    """
    figures.check_format(path)
    points, density = curvature.density(values, weights, width)
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(points, density, linewidth=1.2)
    axes.set_ylim(density.max() * 1e-6, density.max() * 2)
    for end, name, side in ((np.min(values), "min", "right"), (np.max(values), "max", "left")):
        axes.axvline(end, color="tab:gray", linewidth=0.8, linestyle="--")
        axes.annotate(rf"$\theta_{{\rm {name}}}$ = {end:.3g}", (end, 0.96), ha=side, va="top",
                      xycoords=("data", "axes fraction"), textcoords="offset points",
                      xytext=(-4 if side == "right" else 4, 0), fontsize="small")
    axes.margins(x=0.18)
    axes.set(xlabel="eigenvalue", ylabel="density", title=title)
    axes.spines[["top", "right"]].set_visible(False)
    figures.save(figure, path)


def plot_tracks(tracks: Mapping[str, Track], path: str | os.PathLike, title: str) -> None:
    """Draws lambda_min, lambda_max and the gradient norm of some runs against the step.

    lambda_min has a logarithmic axis in both directions, linear around 0.

    Args:
      tracks: label -> track.
      path: of the picture; its suffix says the format.
      title: above it.

    Raises:
      ValueError: if the suffix names no format.
    """
    figures.check_format(path)
    figure = Figure(figsize=(12.0, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    names = ("lambda_min", "lambda_max", "gradient_norm")
    labels = (r"$\lambda_{\rm min}$", r"$\lambda_{\rm max}$", "gradient norm")
    for axes, name, label in zip(panels, names, labels, strict=True):
        for run, track in tracks.items():
            axes.plot(track.steps, getattr(track, name), marker="o", markersize=3, label=run)
        axes.set(xlabel="step", title=label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3, linewidth=0.5)
    smallest = np.abs(np.concatenate([np.asarray(t.lambda_min, float) for t in tracks.values()]))
    positive = smallest[np.isfinite(smallest) & (smallest > 0)]
    panels[0].set_yscale("symlog", linthresh=positive.min(initial=1.0))
    panels[2].set_yscale("log")
    handles, runs = panels[0].get_legend_handles_labels()
    figure.legend(handles, runs, loc="outside lower center", ncols=min(len(runs), 5), frameon=False)
    figure.suptitle(title)
    figures.save(figure, path)
