"""Figures of infinite populations whose norms change: no run is needed."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nfnets_jax.games import mean_field
from nfnets_jax.games.mean_field import FixedPoint
from nfnets_jax.reports import figures

A, B, START = 0.4, 0.6, 0.05


def plot_coordination(path: str | os.PathLike) -> None:
    """Replicator and replicator-mutator: the set-ups of figures 4, 5 and 7 of arXiv 1704.04720.

    Shares of the better norm in time, and dp/dt against p with the fixed points; all rates without
    exploration meet at p = b / (a + b). The two larger c of the first row are ours.
    """
    figure = Figure(figsize=(9, 6.6), layout="constrained")
    (time, rate), (time_mu, rate_mu) = figure.subplots(2, 2)
    needs = (0.0, 0.05, 0.3, 0.5, 1.0)
    for c, colour in zip(needs, shades(len(needs)), strict=True):
        _draw(time, rate, mean_field.mutator_flow(A, B, c, 0.0), START, f"c = {c:g}", colour)
    rate.plot(B / (A + B), B / (A + B) * A / (A + B) * (B - A), "kx", label="p = b / (a + b)")
    rates = (0.0, 0.03, 0.06, 0.1)
    for c, style in ((0.05, "-"), (0.3, "--")):
        for mu, colour in zip(rates, shades(len(rates)), strict=True):
            _draw(time_mu, rate_mu, mean_field.mutator_flow(A, B, c, mu), 0.0 if mu else START,
                  rf"c = {c:g}, $\mu$ = {mu:g}", colour, style)
    for axes in (time, rate, time_mu, rate_mu):
        axes.legend(frameon=False, fontsize=7)
    figures.save(figure, path)


def plot_conformity(path: str | os.PathLike) -> None:
    """Replicator with conformity, our reconstruction: as `plot_coordination`, and a map.

    The map says from which shares p0 the better norm takes over; its line is the tipping point.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    time, rate, tipping = figure.subplots(1, 3)
    conformities = (0.0, 0.05, 0.1, 0.15, 0.3)
    for k, colour in zip(conformities, shades(len(conformities)), strict=True):
        flow = mean_field.replicator_flow(mean_field.replicator_rates(A, B, k=k))
        _draw(time, rate, flow, START, f"k = {k:g}", colour)
    meeting = 0.5 + (B - A) / 2
    rate.plot(meeting, meeting * (1 - meeting) * (B - A), "kx", label="p = 1/2 + (b - a)/2")
    for axes in (time, rate):
        axes.legend(frameon=False, fontsize=7)
    k = np.linspace(0.0, 1.0, 401)
    points = np.array([mean_field.tipping_point(mean_field.replicator_rates(A, B, k=x))
                       for x in k[1:]])
    tipping.imshow((np.linspace(0, 1, 401)[:, None] > np.concatenate([[0.0], points])),
                   origin="lower", extent=(0, 1, 0, 1), aspect="auto", cmap="Blues", vmax=2)
    for gap, colour in zip((0.05, 0.1, 0.2, 0.4), shades(4), strict=True):
        tips = [mean_field.tipping_point(mean_field.replicator_rates(0.5, 0.5 + gap, k=x))
                for x in k[1:]]
        tipping.plot(k[1:], tips, color=colour, label=f"p*, b - a = {gap:g}")
    tipping.set(xlabel="conformity k", ylabel="first share of the better norm", ylim=(0, 1),
                title="shaded: taken over, b - a = 0.2")
    tipping.title.set_fontsize(9)
    tipping.legend(frameon=False, fontsize=7, loc="upper left")
    figures.save(figure, path)


def shades(number: int) -> np.ndarray:
    """As many colours, from dark to light."""
    return colormaps["viridis"](np.linspace(0.0, 0.88, number))


def _draw(time: Axes, rate: Axes, flow, start: float, label: str, colour, style: str = "-") -> None:
    t, p = np.linspace(0.0, 100.0, 401), np.linspace(0.0, 1.0, 201)
    time.plot(t, mean_field.trajectory(flow, start, t), style, color=colour, label=label)
    rate.plot(p, flow(p), style, color=colour, label=label)
    _mark(rate, mean_field.fixed_points(flow), colour)
    rate.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
    time.set(xlabel="time", ylabel="share of the better norm", ylim=(-0.02, 1.02))
    rate.set(xlabel="share of the better norm", ylabel="its rate of change")


def _mark(axes: Axes, points: Sequence[FixedPoint], colour) -> None:
    for point in points:
        axes.plot(point.share, 0.0, "o", color=colour, markersize=4,
                  markerfacecolor=colour if point.is_stable else "white")
