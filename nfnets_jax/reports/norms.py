"""Pictures of populations that change their norms."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from nfnets_jax.reports import figures

# Norm A and norm B.
COLOURS = ("#d8cfa8", "#26547c")


def plot_trajectories(shares: np.ndarray, shocks: Sequence[int], path: str | os.PathLike) -> None:
    """Draws the share of the better norm against the generation: all replicas, and their mean.

    Args:
      shares: [generations + 1, R].
      shocks: generations after which payoffs were swapped, drawn as lines.
      path: of the picture; its suffix says the format.
    """
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(shares, color="tab:blue", linewidth=0.5, alpha=0.3)
    axes.plot(np.mean(shares, axis=1), color="black", label=f"mean of {shares.shape[1]} replicas")
    for t in shocks:
        axes.axvline(t, color="grey", linewidth=0.6, linestyle=":")
    axes.set(xlabel="generation", ylabel="share of the better norm", ylim=(-0.02, 1.02))
    axes.legend(frameon=False, fontsize=8)
    figures.save(figure, path)


def plot_lattices(snapshots: np.ndarray, times: Sequence[int], path: str | os.PathLike) -> None:
    """Draws a torus at several times in a row: norm A light, norm B dark.

    Args:
      snapshots: [S, H, W], 0 = A and 1 = B.
      times: the generation of each.
      path: of the picture; its suffix says the format.
    """
    figure = Figure(figsize=(1.6 * len(times), 1.9), layout="constrained")
    grid = figure.subplots(1, len(times), squeeze=False)[0]
    for axes, snapshot, time in zip(grid, snapshots, times, strict=True):
        axes.imshow(snapshot, cmap=ListedColormap(COLOURS), vmin=0, vmax=1,
                    interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"generation {time}", fontsize=8)
    figures.save(figure, path)


def plot_rates(shares: np.ndarray, rates: Sequence[float], path: str | os.PathLike) -> None:
    """Draws the share of each exploration rate against the generation.

    Args:
      shares: [generations + 1, rates].
      rates: the value of each.
      path: of the picture; its suffix says the format.
    """
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    for rate, values in zip(rates, shares.T, strict=True):
        axes.plot(values, label=f"{rate:g}")
    axes.set(xlabel="generation", ylabel="share of agents", ylim=(0, None))
    axes.legend(title="exploration rate", frameon=False, fontsize=8, ncols=2)
    figures.save(figure, path)
