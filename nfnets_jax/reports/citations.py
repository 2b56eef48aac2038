"""Pictures of citation networks: how often papers are cited, and the shapes of their histories."""

import itertools
import os
from collections.abc import Callable, Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from nfnets_jax.citations import metrics
from nfnets_jax.citations.metrics import MERGED, Shares
from nfnets_jax.citations.trajectories import CATEGORIES
from nfnets_jax.reports import figures

REAL = ("black", "0.6")


def plot_degrees(in_degrees: Mapping[str, np.ndarray], path: str | os.PathLike, *,
                 laws: Mapping[str, Callable[[np.ndarray], np.ndarray]]) -> None:
    """Draws the share of papers with k citations or more against k, both logarithmic.

    Args:
      in_degrees: name -> int [N], of one network each; uncited papers are left of the picture. A
        name that starts with 'real' is drawn in black or grey.
      path: of the picture; its suffix says the format.
      laws: name -> `k -> share`, the expected shares of that network, drawn as a line.
    """
    figure = Figure(figsize=(6.6 if len(in_degrees) > 4 else 4.6, 3.8), layout="constrained")
    axes = figure.subplots()
    colors = _colors(in_degrees)
    largest = max(int(degrees.max(initial=1)) for degrees in in_degrees.values())
    lowest = min(1 / len(degrees) for degrees in in_degrees.values())
    for name, degrees in in_degrees.items():
        values, shares = metrics.ccdf(degrees)
        axes.plot(values[values > 0], shares[values > 0], ".", markersize=3, color=colors[name],
                  label=name)
    k = np.unique(np.geomspace(1, max(largest, 2), 100).round())
    for name, law in laws.items():
        axes.plot(k, law(k), color="0.2", linewidth=0.9, label=f"{name}: theory (with replacement)")
    axes.set(xscale="log", yscale="log", xlabel="citations k",
             ylabel="share of papers with k or more", ylim=(0.7 * lowest, 1.3))
    _add_legend(axes, len(in_degrees))
    figures.save(figure, path)


def plot_categories(shares: Mapping[str, Shares], path: str | os.PathLike, *,
                    deviations: Mapping[str, np.ndarray] | None = None) -> None:
    """Draws the shares of the categories as groups of bars, in two panels.

    The first has the six categories of all papers with a history that is long enough, the second
    the four nicknames of those that are not Oth. There are no bars where shares are NaN.

    Args:
      shares: name -> of one network each. A name that starts with 'real' is drawn in black or grey.
      path: of the picture; its suffix says the format.
      deviations: name -> [6], standard deviations of the six; drawn where they are finite.
    """
    figure = Figure(figsize=(10.5 if len(shares) > 4 else 9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, width_ratios=(6, 4.5))
    colors, width = _colors(shares), 0.84 / len(shares)
    for axes, labels, values, ylabel in (
            (panels[0], CATEGORIES, [of.all_six for of in shares.values()],
             "percent of papers with a category"),
            (panels[1], [name.replace(" ", "\n") for name in MERGED][:-1],
             [of.classified for of in shares.values()], "percent of those that are not Oth")):
        places = np.arange(len(labels))
        for i, (name, heights) in enumerate(zip(shares, values, strict=True)):
            errors = (deviations or {}).get(name) if axes is panels[0] else None
            axes.bar(places + (i + 0.5) * width - 0.42, 100 * np.nan_to_num(heights), width,
                     color=colors[name], label=name,
                     yerr=None if errors is None else 100 * np.nan_to_num(errors),
                     error_kw={"linewidth": 0.6, "ecolor": "0.4"})
        axes.set_xticks(places, labels, fontsize=8)
        axes.set(ylabel=ylabel, ylim=(0, None))
    _add_legend(panels[1], len(shares))
    figures.save(figure, path)


def _colors(names: Mapping[str, object]) -> dict[str, object]:
    models = itertools.cycle(colormaps["tab20" if len(names) > 10 else "tab10"].colors)
    real = itertools.cycle(REAL)
    return {name: next(real if name.startswith("real") else models) for name in names}


def _add_legend(axes, count: int) -> None:
    if count > 4:  # beside the panel
        axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    else:
        axes.legend(frameon=False, fontsize=7)
