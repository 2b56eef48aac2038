"""The figures of a sweep: what happens at the best learning rates, and how they move."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from nfnets_jax.analysis import scoring
from nfnets_jax.reports import sweep_maps
from nfnets_jax.reports.sweep_tables import (
    BATCH_SIZE,
    BUDGETS,
    Study,
    format_value,
    is_number,
    is_share,
    name_metric,
)

_MARKERS = "osD^vPX*"
_DASHES = ("-", "--", ":", "-.")
_MOST_TICKS = 14


class Drawing(NamedTuple):
    """A figure of the report.

    Attributes:
      name: of its files.
      caption: what is drawn, in a sentence or two.
      figure: of matplotlib.
      records: the numbers in it, one dict for each row of its CSV.
    """

    name: str
    caption: str
    figure: Figure
    records: list[dict[str, Any]]


def draw(of: Study, load_curve: Callable[[dict], list[dict]]) -> Iterator[Drawing]:
    """Draws the figures that the varied fields give a meaning to.

    Args:
      of: the study.
      load_curve: gives the evaluations of a row of the table.
    """
    tuned = of.is_tuned
    if of.x_field is not None:
        yield at_optimum(of, of.scores.metric)
        if tuned and of.x_field not in BUDGETS and all(map(is_number, of.x_values)):
            yield optimal_rates(of)
        if of.train_scores is not None:
            yield at_optimum(of, "train_loss")
    elif tuned:
        yield rate_curve(of)
    if tuned and of.x_field is not None:
        yield Drawing("heat_map", *sweep_maps.heat_map(of))
    if tuned and of.x_field == BATCH_SIZE and all(g.batch_size for g in of.scores.groups):
        yield collapse(of)
    for field in BUDGETS:
        if tuned and field in of.table.varied:
            yield budget(of, field)
    chosen = list(sweep_maps.choose_curves(of, load_curve))
    if chosen:
        yield Drawing("curves", *sweep_maps.curves(of, chosen))


def at_optimum(of: Study, metric: str) -> Drawing:
    """A metric of the chosen runs at the best learning rate, against the x axis."""
    figure, axes = _figure()
    records = []
    for i, (others, groups) in enumerate(of.lines):
        points = []
        for group in groups:
            if group.optimum is None:
                continue
            mean, error = scoring.mean_and_error(group.optimum.chosen, metric)
            points.append((group.fields[of.x_field], mean, error))
            records.append({**group.fields, "learning_rate": group.optimum.learning_rate,
                            metric: mean, "standard_error": error,
                            "runs": len(group.optimum.chosen)})
        if points:
            x, mean, error = zip(*points, strict=True)
            factor = 100 if is_share(metric) else 1
            axes.errorbar(_place(of, x), factor * np.array(mean), factor * np.nan_to_num(error),
                          **_style(of, i), label=of.describe(others), capsize=3)
    _label_x(of, axes)
    axes.set_ylabel(name_metric(metric))
    if not is_share(metric):
        _log_if_wide(axes, [record[metric] for record in records])
    where, how = "", ""
    if of.is_tuned:
        where = " at the best learning rate"
        how = f" with the learning rate that is best by {of.scores.metric}"
    axes.set_title(name_metric(metric) + where)
    _finish(of, axes)
    return Drawing(
        metric + where.replace(" the", "").replace(" ", "_"),
        f"{name_metric(metric)} against {of.name(of.x_field)}{how}: mean and standard error of "
        "the runs that were chosen.", figure, records)


def optimal_rates(of: Study) -> Drawing:
    """The best effective learning rate against the x axis, log-log, with its interval."""
    figure, axes = _figure()
    records = []
    for i, ((others, groups), (free, fixed)) in enumerate(zip(of.lines, of.scalings, strict=True)):
        style, text = _style(of, i), of.describe(others)
        if free is not None:
            style["ls"] = "none"
            x = np.linspace(np.log2(free.batch_sizes[0]), np.log2(free.batch_sizes[-1]), 200)
            scale = groups[0].effective_rate(1.0)
            axes.plot(2.0**x, scale * 2.0**free.fit(x), color=style["color"], lw=1.2)
            text = ": ".join(filter(None, (text, _name_fit(free, scale))))
            if i == 0:
                guide = scale * 2.0 ** (fixed.fit(x[:1])[0] + x - x[0])
                axes.plot(2.0**x, guide, color="0.6", lw=1, ls="--", zorder=0, label="slope 1")
        records += _draw_optima(axes, groups, of.x_field, style, text)
    if records:
        axes.set_ylim(min(r["low"] for r in records) / 2, 2 * max(r["high"] for r in records))
    _label_x(of, axes)
    axes.set_yscale("log", base=2)
    axes.set_ylabel("best effective learning rate ε/(1-m)")
    axes.set_title("best effective learning rate")
    _finish(of, axes, always=of.x_field == BATCH_SIZE)
    caption = (f"The best learning rate against {of.name(of.x_field)}, divided by 1 - momentum. "
               "Bars span the learning rates within one standard error of the best.")
    if of.x_field == BATCH_SIZE:
        caption += " Lines are fits of min(a + s x, c) in powers of 2; dashed: slope 1."
    return Drawing("best_learning_rate", caption, figure, records)


def collapse(of: Study) -> Drawing:
    """Metrics against the temperature, one line for each batch size."""
    kinds = [of.scores, *([of.train_scores] if of.train_scores else [])]
    figure = Figure(figsize=(6.4 * len(kinds), 4.4), layout="constrained")
    sizes = sorted({group.batch_size for group in of.scores.groups})
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.92, len(sizes)))
    records = []
    for axes, scores in zip(np.atleast_1d(figure.subplots(1, len(kinds))), kinds, strict=True):
        styles = {}
        for group in scores.groups:
            others = of.describe({k: v for k, v in group.fields.items() if k != BATCH_SIZE})
            style = styles.setdefault(others, len(styles))
            cells = [cell for cell in group.cells if cell.state == "scored"]
            t = [group.temperature(cell.learning_rate) for cell in cells]
            axes.plot(t, [(100 if is_share(scores.metric) else 1) * cell.score for cell in cells],
                      color=colors[sizes.index(group.batch_size)], ls=_DASHES[style % len(_DASHES)],
                      marker=_MARKERS[style % len(_MARKERS)], ms=4, lw=1.3)
            records += [{"metric": scores.metric, **group.fields, "temperature": temperature,
                         "learning_rate": cell.learning_rate, "score": cell.score,
                         "standard_error": cell.standard_error}
                        for temperature, cell in zip(t, cells, strict=True)]
        axes.set_xscale("log", base=2)
        axes.set_xlabel("temperature ε/(B(1-m))")
        axes.set_ylabel(name_metric(scores.metric))
        low, high = sweep_maps.color_range(scores)
        if low > 0 and high > 10 * low:
            axes.set(yscale="log", ylim=(low / 1.3, high * 1.3))
        elif low < high:
            axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axes.grid(alpha=0.25)
    handles = [axes.plot([], [], color=c, marker="o", ms=4, label=f"B = {b}")[0]
               for b, c in zip(sizes, colors, strict=True)]
    if len(styles) > 1:
        handles += [axes.plot([], [], color="0.3", ls=_DASHES[i % len(_DASHES)], ms=4,
                              marker=_MARKERS[i % len(_MARKERS)], label=text)[0]
                    for text, i in styles.items()]
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=9)
    figure.suptitle("runs of equal temperature")
    return Drawing(
        "temperature", "Each learning rate's score against its temperature, one line for each "
        "batch size. Where the noise of the gradient decides, the lines fall on one another. The "
        "worst scores are out of the picture.",
        figure, records)


def budget(of: Study, field: str) -> Drawing:
    """The best effective learning rates, for the metric and the train loss, against the budget."""
    figure, axes = _figure()
    records = []
    kinds = [of.scores, *([of.train_scores] if of.train_scores else [])]
    for kind, scores in enumerate(kinds):
        for i, (others, groups) in enumerate(scoring.lines(scores.groups, field)):
            style = _style(of, i) | {"ls": _DASHES[kind], "marker": _MARKERS[kind]}
            text = ", ".join(filter(None, (scores.metric.replace("_", " "), of.describe(others))))
            if len(kinds) > 1 and len(groups) == len(scores.groups):
                style["color"] = f"C{kind}"
            records += [{"selected_by": scores.metric, **record} for record in _draw_optima(
                axes, sorted(groups, key=lambda g: g.fields[field]), field, style, text)]
    name = of.name(field).removeprefix("num ")
    ticks = sorted({group.fields[field] for group in of.scores.groups})
    axes.set_xscale("log", base=2)
    _tick(axes, ticks)
    axes.set_yscale("log", base=2)
    axes.set(xlabel=name, ylabel="best effective learning rate ε/(1-m)",
             title="best effective learning rate and budget")
    _finish(of, axes, always=True)
    return Drawing(
        f"best_learning_rate_by_{field}", f"The best learning rate against the {name} trained "
        "for, by " + " and by ".join(scores.metric for scores in kinds) + ", divided by 1 - "
        "momentum. Bars span the learning rates within one standard error of the best.",
        figure, records)


def rate_curve(of: Study) -> Drawing:
    """The score against the learning rate, where nothing else is varied."""
    figure, axes = _figure()
    group, = of.scores.groups
    cells = [cell for cell in group.cells if cell.state == "scored"]
    factor = 100 if is_share(of.scores.metric) else 1
    axes.errorbar([cell.learning_rate for cell in cells], [factor * cell.score for cell in cells],
                  [factor * np.nan_to_num(cell.standard_error) for cell in cells],
                  marker="o", capsize=3)
    axes.set_xscale("log", base=2)
    axes.set(xlabel="learning rate", ylabel=name_metric(of.scores.metric),
             title=f"{name_metric(of.scores.metric)} and learning rate")
    _finish(of, axes)
    return Drawing(
        f"{of.scores.metric}_by_learning_rate", f"{name_metric(of.scores.metric)} against the "
        "learning rate: score and standard error. Failed learning rates are left out.", figure,
        sweep_maps.cell_records(of))


def _name_fit(fitted, scale: float) -> str:
    slope, error, plateau = fitted.fit.slope, fitted.slope_error, fitted.fit.plateau
    parts = []
    if not math.isnan(slope):
        parts.append(f"slope {slope:.2f}" + ("" if math.isnan(error) else f" ± {error:.2f}"))
    if not math.isnan(plateau):
        parts.append(f"plateau {scale * 2.0**plateau:.3g}")
    return ", ".join(parts)


def _draw_optima(axes: Axes, groups, field, style, text) -> list[dict[str, Any]]:
    records = []
    for group in groups:
        if group.optimum is not None and group.optimum.learning_rate:
            rate, low, high = (group.effective_rate(r) for r in
                               (group.optimum.learning_rate, *group.interval))
            records.append({**group.fields, "learning_rate": group.optimum.learning_rate,
                            "effective_rate": rate, "low": low, "high": high,
                            "edge": group.edge or "", "score": group.optimum.score})
    rate, low, high = (np.array([r[k] for r in records]) for k in ("effective_rate", "low", "high"))
    if records:
        axes.errorbar([r[field] for r in records], rate, [rate - low, high - rate], **style,
                      label=text or None, capsize=3)
    return records


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    return figure, figure.subplots()


def _style(of: Study, i: int) -> dict[str, Any]:
    count = len(of.lines)
    color = f"C{i}" if count <= 10 else matplotlib.colormaps["viridis"](0.92 * i / (count - 1))
    return {"color": color, "marker": _MARKERS[i % len(_MARKERS)], "ms": 5, "lw": 1.5,
            "ls": "-" if all(map(is_number, of.x_values)) else "none"}


def _place(of: Study, values) -> list[float]:
    if all(map(is_number, of.x_values)):
        return list(values)
    return [of.x_values.index(value) for value in values]


def _label_x(of: Study, axes: Axes) -> None:
    """Names the x axis, with a tick at every value; octaves where the values span many."""
    axes.set_xlabel(of.name(of.x_field))
    if not all(map(is_number, of.x_values)):
        texts = list(map(format_value, of.x_values))
        axes.set_xticks(range(len(texts)), texts, rotation=30 if max(map(len, texts)) > 8 else 0,
                        ha="right" if max(map(len, texts)) > 8 else "center")
        axes.set_xlim(-0.5, len(texts) - 0.5)
        return
    if min(of.x_values) > 0 and max(of.x_values) >= 4 * min(of.x_values):
        axes.set_xscale("log", base=2)
    _tick(axes, of.x_values)


def _tick(axes: Axes, values) -> None:
    axes.xaxis.set_major_locator(FixedLocator(values[:: -(-len(values) // _MOST_TICKS)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_value(float(value))))


def _log_if_wide(axes: Axes, values) -> None:
    values = [value for value in values if math.isfinite(value)]
    if values and min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")


def _finish(of: Study, axes: Axes, always: bool = False) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0] and (always or len(of.lines) > 1):
        axes.legend(frameon=False, fontsize=9)
