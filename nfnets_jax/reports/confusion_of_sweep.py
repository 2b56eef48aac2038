"""Gradient confusion of the networks of a sweep, each at its best learning rate.

A network's learning rate is the one with the lowest training loss, mean of the seeds, as in arXiv
1904.06963; its cosines are those of the last analysis, in the density all seeds together.
"""

import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from nfnets_jax.analysis import scoring
from nfnets_jax.reports import figures, gradient_confusion, sweep_tables
from nfnets_jax.sweeps import table as table_lib

# What the smallest cosine is drawn against, where it varies.
AXES = ("depth", "width", "num_dimensions")


class Network(NamedTuple):
    """The runs of a network at its best learning rate.

    Attributes:
      features: what tells it from the others, see `describe`.
      learning_rate: None where the config has none.
      losses: [seeds], of the last evaluation.
      minimum: [seeds], the smallest cosine.
      cosines: [seeds, pairs].
      curves: for each seed the evaluations, from `table.load_curve`.
    """

    features: dict[str, Any]
    learning_rate: float | None
    losses: np.ndarray
    minimum: np.ndarray
    cosines: np.ndarray
    curves: list[list[dict[str, Any]]]


def collect(workdir: str | os.PathLike) -> list[Network]:
    """The networks of a sweep in its order; those that no learning rate trains are left out.

    Raises:
      ValueError: if no network has been trained, or gradient confusion was not measured.
      WorkdirError: if the folder holds no sweep.
    """
    table = table_lib.load(workdir)
    metric = "train_loss" if "train_loss" in scoring.metrics(table) else "test_loss"
    networks = []
    for group in scoring.score(table, metric).groups:
        if group.optimum is None:
            continue
        runs = group.optimum.chosen
        curves = [table_lib.load_curve(workdir, run) for run in runs]
        if not all(curve and "cosines" in curve[-1] for curve in curves):
            raise ValueError("gradient confusion was not measured; set "
                             "analysis.measures=('gradient_confusion',) in the config of the sweep")
        networks.append(Network(
            describe(table.base, group.fields), group.optimum.learning_rate,
            np.array([run[metric] for run in runs]),
            np.array([curve[-1]["min_cosine"] for curve in curves]),
            np.array([curve[-1]["cosines"] for curve in curves]), curves))
    if not networks:
        raise ValueError("no network has been trained by any of its learning rates yet")
    return _tell_apart(networks)


def describe(base: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Depth and width of a network, its other fields and those outside of it.

    Args:
      base: config of the sweep.
      fields: path -> value of the fields that differ.
    """
    own = {path.removeprefix("network."): value for path, value in fields.items()
           if path.startswith("network.")}
    features = {path.rpartition(".")[2]: value for path, value in fields.items()
                if not path.startswith("network.")}
    name = own.pop("name", base.get("network", {}).get("name", ""))
    if match := re.fullmatch(r"(\w+_wrn)_(\d+)_(\d+)", name):
        name, depth, width = match[1], int(match[2]), int(match[3])
        own = {"depth": depth, "width": width, **own}
    if own.get("widths"):
        widths = own.pop("widths")
        own = {"depth": len(widths), "width": max(widths), **own}
    if "num_blocks" in own:
        own = {"depth": own.pop("num_blocks"), **own}
    return {**({"network": name} if name else {}), **own, **features}


def rows(networks: list[Network]) -> sweep_tables.Rows:
    """A table in words, with standard deviations over the seeds."""
    return [{
        **{name: sweep_tables.format_value(value) for name, value in network.features.items()},
        "learning rate": sweep_tables.format_value(network.learning_rate),
        "seeds": str(len(network.minimum)),
        "loss": _with_std(network.losses),
        "smallest cosine": _with_std(network.minimum),
        "std of cosines": _with_std(network.cosines.std(axis=1)),
    } for network in networks]


def draw(networks: list[Network], directory: str | os.PathLike) -> list[Path]:
    """Draws the training loss, the density of the cosines and, over `AXES`, their minimum.

    Args:
      networks: from `collect`.
      directory: of the pictures.

    Returns:
      The pictures: loss.png, cosines.png and, where one of the axes varies, minimum.png.
    """
    loss, cosines, minimum = (
        Path(directory) / name for name in ("loss.png", "cosines.png", "minimum.png"))
    labels = [_label(network.features) for network in networks]
    _plot_losses(dict(zip(labels, networks, strict=True)), loss)
    gradient_confusion.plot_cosines(
        {label: network.cosines.ravel() for label, network in zip(labels, networks, strict=True)},
        cosines)
    axis = next((name for name in AXES if all(
        sweep_tables.is_number(network.features.get(name)) for network in networks)), None)
    if axis is None:
        return [loss, cosines]
    lines: dict[str, dict[int, np.ndarray]] = {}
    for network in networks:
        others = {name: value for name, value in network.features.items() if name != axis}
        lines.setdefault(_label(others), {})[network.features[axis]] = network.minimum
    gradient_confusion.plot_minimum(lines, minimum, axis.replace("_", " "))
    return [loss, cosines, minimum]


def _plot_losses(networks: Mapping[str, Network], path: Path) -> None:
    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    axes = figure.subplots()
    for label, network in networks.items():
        losses: dict[int, list[float]] = {}
        for point in itertools.chain(*network.curves):
            if point.get("running_loss") is not None:
                losses.setdefault(point["step"], []).append(point["running_loss"])
        axes.plot(list(losses), [np.mean(seeds) for seeds in losses.values()], label=label)
    axes.set(xlabel="step", ylabel="training loss", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figures.save(figure, path)


def _label(features: Mapping[str, Any]) -> str:
    parts = [f"{name.replace('_', ' ')} {sweep_tables.format_value(value)}"
             for name, value in features.items() if value is not None]
    return ", ".join(parts) or "mean and deviation of the seeds"


def _with_std(values: np.ndarray) -> str:
    mean = f"{np.mean(values):.3g}"
    return f"{mean} ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else mean


def _tell_apart(networks: list[Network]) -> list[Network]:
    """Leaves the features that tell networks apart which those before them do not."""
    kept, different = [], 1
    for name in dict.fromkeys(name for network in networks for name in network.features):
        found = {repr([network.features.get(n) for n in (*kept, name)]) for network in networks}
        if len(found) > different:
            kept, different = [*kept, name], len(found)
    return [network._replace(features={name: network.features.get(name) for name in kept})
            for network in networks]
