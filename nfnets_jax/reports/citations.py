"""Pictures of citation networks: how often papers are cited, and the shapes of their histories."""

import os
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from nfnets_jax.citations import metrics, theory
from nfnets_jax.citations.trajectories import CATEGORIES
from nfnets_jax.reports import figures


def plot_degrees(in_degrees: Mapping[str, np.ndarray], path: str | os.PathLike, *,
                 law: tuple[float, float] | None = None) -> None:
    """Draws the share of papers with k citations or more against k, both logarithmic.

    Args:
      in_degrees: name -> int [N], of one network each; uncited papers are left of the picture.
      path: of the picture; its suffix says the format.
      law: m and a of Price's stationary law, drawn as a line; None for no line.
    """
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.subplots()
    largest, lowest = 1, 1.0
    for name, degrees in in_degrees.items():
        values, shares = metrics.ccdf(degrees)
        axes.plot(values[values > 0], shares[values > 0], ".", markersize=3, label=name)
        largest, lowest = max(largest, values[-1]), min(lowest, 1 / len(degrees))
    if law is not None:
        k = np.geomspace(1, max(largest, 2), 200)
        axes.plot(k, theory.price_ccdf(k, *law), color="black", linewidth=0.8,
                  label=f"limit (Price): m = {law[0]:.3g}, a = {law[1]:.3g}")
    axes.set(xscale="log", yscale="log", xlabel="citations k",
             ylabel="share of papers with k or more", ylim=(0.7 * lowest, 1.3))
    axes.legend(frameon=False, fontsize=8)
    figures.save(figure, path)


def plot_categories(shares: Mapping[str, np.ndarray], path: str | os.PathLike) -> None:
    """Draws the shares of the six categories as groups of bars.

    Args:
      shares: name -> [6], in the order of `CATEGORIES`; no bars where they are NaN.
      path: of the picture; its suffix says the format.
    """
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    places, width = np.arange(len(CATEGORIES)), 0.8 / len(shares)
    for i, (name, values) in enumerate(shares.items()):
        bars = axes.bar(places + (i + 0.5) * width - 0.4, 100 * np.nan_to_num(values), width,
                        label=name)
        if len(shares) <= 2:
            axes.bar_label(bars, [f"{100 * v:.1f}" if np.isfinite(v) else "" for v in values],
                           fontsize=6)
    axes.set_xticks(places, CATEGORIES)
    axes.set(ylabel="percent of papers with a category")
    axes.legend(frameon=False, fontsize=8)
    figures.save(figure, path)
