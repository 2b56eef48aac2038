"""Figures of gradient confusion, as in arXiv 1904.06963: density of cosines, and minima."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from nfnets_jax.reports import figures

_POINTS = 401


def density(cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A kernel density estimate of cosines on [-1, 1].

    The bandwidth is Scott's rule, our choice, as the paper names none. What the kernels have
    outside of [-1, 1] is folded back, so that the integral over it is 1.

    Args:
      cosines: [n], not all equal.

    Returns:
      points: [401], from -1 to 1.
      densities: [401].
    """
    estimate = gaussian_kde(cosines, bw_method="scott")
    points = np.linspace(-1.0, 1.0, _POINTS)
    return points, estimate(points) + estimate(-2.0 - points) + estimate(2.0 - points)


def plot_cosines(
    cosines: Mapping[str, np.ndarray], path: str | os.PathLike, title: str = "",
) -> None:
    """Draws the distribution of each network's cosines: a histogram and its density.

    Args:
      cosines: name of the network -> [n], pooled over runs.
      path: of the picture; its suffix says the format.
      title: of the picture.

    Raises:
      ValueError: if the suffix names no format.
    """
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for i, (name, values) in enumerate(cosines.items()):
        values = np.clip(values, -1, 1)  # rounding errors would leave the axis
        axes.hist(values, bins=np.linspace(-1, 1, 81), density=True, color=f"C{i}", alpha=0.15)
        if np.ptp(values) > 0:
            axes.plot(*density(values), color=f"C{i}")
        # Its own entry, so that the legend shows a line for networks without a density, too.
        axes.plot([], [], color=f"C{i}", label=f"{name}, minimum {np.min(values):.2f}")
    axes.axvline(0.0, color="0.6", linewidth=0.8)
    axes.set_xlabel("cosine between the gradients of a pair")
    axes.set_ylabel("density")
    axes.set_xlim(-1, 1)
    axes.set_title(title)
    axes.legend(frameon=False, fontsize=8)
    figures.save(figure, path)


def plot_minimum(
    minima: Mapping[str, Mapping[int, Sequence[float]]], path: str | os.PathLike, axis: str,
) -> None:
    """Draws the minimum cosine against the width or the depth, with its deviation over the seeds.

    A minimum falls with the number of pairs: all are to be of equally many.

    Args:
      minima: kind of network -> width or depth -> the minimum of each seed.
      path: of the picture; its suffix says the format.
      axis: what the numbers are, such as 'width'.

    Raises:
      ValueError: if the suffix names no format.
    """
    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    axes = figure.subplots()
    for kind, by_size in minima.items():
        sizes = sorted(by_size)
        axes.errorbar(sizes, [np.mean(by_size[size]) for size in sizes],
                      yerr=[np.std(by_size[size]) for size in sizes],
                      marker="o", markersize=4, capsize=3, label=kind)
    sizes = sorted({size for by_size in minima.values() for size in by_size})
    if sizes[-1] > 4 * sizes[0]:
        axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel(axis)
    axes.set_ylabel("minimum cosine")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figures.save(figure, path)
