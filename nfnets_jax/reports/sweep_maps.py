"""Figures of a sweep that show its runs: heat maps of all cells, curves of a few."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from nfnets_jax.analysis import scoring
from nfnets_jax.reports.sweep_tables import Study, format_value, is_share, name_metric

_MOST_MAPS, _MOST_PANELS, _MOST_COLUMNS = 12, 6, 3
_MOST_HEIGHT = 5.2  # inches of a map
# Cells have numbers up to this many rows and columns.
_MOST_NUMBERS = 16
# The share of the scored cells, the worst ones, that have the last colour.
_CLIPPED = 0.3
_STATES = {"failed": ("0.75", "failed: fewer than k runs survived"),
           "skipped": ("0.9", "skipped"), "unfinished": ("white", "not finished")}
_HATCHES = {"failed": "xxx", "skipped": "..", "unfinished": ""}


class Curve(NamedTuple):
    """The evaluations of a run, and why it is shown."""

    group: scoring.Group
    reason: str
    row: dict[str, Any]
    evaluations: list[dict[str, Any]]


def cell_records(of: Study) -> list[dict[str, Any]]:
    """The numbers of every cell."""
    return [{**group.fields, "learning_rate": cell.learning_rate, "state": cell.state,
             "score": cell.score, "standard_error": cell.standard_error, "mean": cell.mean,
             "best": int(i == group.best), **cell.counts}
            for group in of.scores.groups for i, cell in enumerate(group.cells)]


def heat_map(of: Study) -> tuple[str, Figure, list[dict[str, Any]]]:
    """The score of every learning rate and x, a panel for each line: caption, figure, numbers."""
    shown = of.lines[:_MOST_MAPS]
    rates = sorted({cell.learning_rate for _, groups in shown for g in groups for cell in g.cells})
    columns = min(_MOST_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    width = 1.6 + max(2.4, 0.62 * len(of.x_values)) * (1 if columns == 1 else 0.8) * columns
    height = 1.5 + min(max(2.0, 0.32 * len(rates)), _MOST_HEIGHT) * rows
    figure = Figure(figsize=(max(6.4, width), height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).reshape(-1)
    for axes in grid[len(shown):]:
        axes.axis("off")
    factor = 100 if is_share(of.scores.metric) else 1
    norm = _norm(of.scores)
    cmap = matplotlib.colormaps["viridis" if of.scores.larger_is_better else "viridis_r"]
    states = set()
    for axes, (others, groups) in zip(grid, shown, strict=False):
        image = _draw_map(of, axes, groups, rates, norm, cmap, factor, states)
        axes.set_title(of.describe(others) or f"{name_metric(of.scores.metric)} of every cell")
    for axes in grid[: len(shown)]:
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("learning rate")
        axes.set_xlabel(of.name(of.x_field))
    figure.colorbar(image, ax=list(grid), label=name_metric(of.scores.metric),
                    extend="min" if of.scores.larger_is_better else "max", fraction=0.05, pad=0.02)
    handles = [Line2D([], [], ls="none", marker="*", ms=10, mfc="white", mec="k", label="best"),
               Patch(fc="none", ec="k", lw=1.2, label="within 1 SE of it")]
    handles += [Patch(fc=color, ec="0.4", hatch=_HATCHES[state], label=text)
                for state, (color, text) in _STATES.items() if state in states]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False,
                  fontsize=8)
    left_out = len(of.lines) - len(shown)
    caption = (f"Score of every learning rate by {of.scores.metric}; the worst "
               f"{100 * _CLIPPED:.0f}% share one colour."
               + (f" {left_out} more panels are in the CSV only." if left_out else ""))
    return caption, figure, cell_records(of)


def color_range(scores: scoring.Scores) -> tuple[float, float]:
    """The scores between which cells are told apart, in percent for accuracies."""
    factor = 100 if is_share(scores.metric) else 1
    values = [factor * cell.score for group in scores.groups for cell in group.cells
              if cell.state == "scored"] or [0.0]
    if scores.larger_is_better:
        return float(np.quantile(values, _CLIPPED)), max(values)
    return min(values), float(np.quantile(values, 1 - _CLIPPED))


def choose_curves(of: Study, load_curve: Callable[[dict], list[dict]]) -> Iterator[Curve]:
    """The best and the median run at the best learning rate, and one that diverged.

    Of a few groups, spread evenly; runs without curves are passed over.
    """
    groups = [group for _, line in of.lines for group in line]
    spread = np.unique(np.linspace(0, len(groups) - 1, _MOST_PANELS).round().astype(int))
    for group in (groups[i] for i in spread):
        chosen = {}
        if group.optimum is not None:
            ended = [row for row in group.optimum.rows if row.get(of.scores.metric) is not None]
            order = scoring.best_of(np.array([row[of.scores.metric] for row in ended]), len(ended),
                                    of.scores.larger_is_better)
            chosen["best"] = ended[order[0]]
            if len(ended) > 1:
                chosen["median"] = ended[order[len(ended) // 2]]
        diverged = (row for cell in group.cells for row in cell.rows
                    if row["status"] == "diverged" and row.get("curve"))
        chosen["diverged"] = next(diverged, None)
        for reason, row in chosen.items():
            evaluations = load_curve(row) if row and row.get("curve") else []
            if evaluations:
                yield Curve(group, reason, row, evaluations)


def curves(of: Study, chosen: list[Curve]) -> tuple[str, Figure, list[dict[str, Any]]]:
    """Training and test loss of the chosen runs: caption, figure, numbers."""
    recorded = {key for curve in chosen for record in curve.evaluations for key in record}
    training = "running_loss" if "running_loss" in recorded else "train_loss"
    names = [n for n in (training, "test_loss", "valid_loss") if n in recorded][:2] or [
        n for n in (of.scores.metric, *sorted(recorded - {"step"})) if n in recorded][:1]
    panels = {}
    for curve in chosen:
        panels.setdefault(repr(curve.group.fields), []).append(curve)
    columns = min(_MOST_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(max(6.4, 3.4 * columns), 0.8 + 2.7 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in grid[len(panels):]:
        axes.axis("off")
    colors = {"best": "C0", "median": "C2", "diverged": "C3"}
    records = []
    for axes, members in zip(grid, panels.values(), strict=False):
        for curve in members:
            rate = of.scores.rate_field and curve.row.get(of.scores.rate_field)
            for name, dash in zip(names, ("-", "--"), strict=False):
                points = [(r["step"], r[name]) for r in curve.evaluations if r.get(name) is not None
                          and math.isfinite(r[name])]
                if points:  # a line between the start and the end would show what was not measured
                    axes.plot(*zip(*points, strict=True), dash if len(points) > 2 else "o",
                              mfc="none", color=colors[curve.reason], lw=1.4)
                records += [{"cell": curve.row["cell"], "shown_as": curve.reason,
                             **curve.group.fields, "learning_rate": rate,
                             "seed": curve.row.get(scoring.SEED), "metric": name, "step": step,
                             "value": value} for step, value in points]
        _finish_panel(axes, curve.group, of)
    handles = [Line2D([], [], color=color, label=reason) for reason, color in colors.items()
               if any(curve.reason == reason for curve in chosen)]
    handles += [Line2D([], [], color="0.3", ls=dash, marker="o" if dash == "--" else None,
                       mfc="none", label=name.replace("_", " "))
                for name, dash in zip(names, ("-", "--"), strict=False)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False,
                  fontsize=9)
    figure.suptitle(f"{names[0].replace('_', ' ').split()[-1]} during training")
    return ("The best and the median run at the best learning rate, and one that diverged, where "
            "there is one.", figure, records)


def _draw_map(of: Study, axes: Axes, groups, rates, norm, cmap, factor, states):
    values = np.full((len(rates), len(of.x_values)), np.nan)
    numbers = max(values.shape) <= _MOST_NUMBERS
    best = {}
    for group in groups:
        x = of.x_values.index(group.fields[of.x_field])
        for i, cell in enumerate(group.cells):
            y = rates.index(cell.learning_rate)
            if cell.state != "scored":
                states.add(cell.state)
                axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fc=_STATES[cell.state][0],
                                         ec="0.5", lw=0.4, hatch=_HATCHES[cell.state]))
                continue
            values[y, x] = factor * cell.score
            if i == group.best:
                best[x, y] = "*"
            if group.interval[0] <= cell.learning_rate <= group.interval[1]:
                axes.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fc="none", ec="k",
                                         lw=1.2, zorder=3))
    image = axes.imshow(values, origin="lower", aspect="auto", norm=norm, cmap=cmap)
    for (y, x), value in np.ndenumerate(values):
        if not np.isnan(value):
            light = sum(cmap(norm(value))[:3]) > 1.45
            color = "k" if light else "w"
            if numbers:
                text = f"{value:.1f}" if factor == 100 else f"{value:.3g}"
                axes.text(x, y - 0.03, text, ha="center", va="center", fontsize=7, color=color,
                          fontweight="bold" if (x, y) in best else None)
            if (x, y) in best:
                axes.plot(x + (0.36 if numbers else 0), y + (0.3 if numbers else 0), "*", ms=9,
                          mfc="white", mec="k", mew=0.7, zorder=4)
    axes.set_xticks(range(len(of.x_values)), list(map(format_value, of.x_values)),
                    rotation=0 if max(len(format_value(v)) for v in of.x_values) < 6 else 40)
    step = -(-len(rates) // _MOST_NUMBERS)
    axes.set_yticks(range(0, len(rates), step), [format_value(float(r)) for r in rates[::step]])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return image


def _norm(scores: scoring.Scores):
    low, high = color_range(scores)
    if low > 0 and high > 10 * low:
        return matplotlib.colors.LogNorm(low, high)
    return matplotlib.colors.Normalize(low, high)


def _finish_panel(axes: Axes, group: scoring.Group, of: Study) -> None:
    low, high = axes.dataLim.intervaly
    if low > 0 and high > 5 * low:
        axes.set_yscale("log")
    axes.set_title(of.describe(group.fields), fontsize=10)
    axes.set_xlabel("step")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
