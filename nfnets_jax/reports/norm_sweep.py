"""Figures of a sweep of populations that change their norms, against what they need or do.

The lattices are of replica 0, which is made again: it is the same alone as among others. Dashed
lines are a well-mixed population with the same rules (`games.mean_field.grid_flow`).
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.games import mean_field
from nfnets_jax.reports import figures
from nfnets_jax.reports.norm_theory import shades
from nfnets_jax.reports.norms import COLOURS
from nfnets_jax.sweeps import table as table_lib
from nfnets_jax.tasks import simulations
from nfnets_jax.training import loop
from nfnets_jax.training import workdir as workdir_lib
from nfnets_jax.training.metrics import read_metrics

# Study -> the tasks of it, and the field that its figures are drawn against.
TASKS = {"norm_change": ("norm_change", "exploration_rates"), "tipping_points": ("tipping_points",)}
AXES = {"norm_change": "need_for_coordination", "tipping_points": "conformity"}
_GAP, _TITLE = 6, 14  # pixels of an animation between lattices and above them
_MOST_FRAMES = 90
_CURVE = "evaluations"  # of a run that is not part of a sweep


def load(study: str, workdir: Path) -> table_lib.Table:
    """The finished runs of a sweep, or a run as a sweep of one.

    Raises:
      ValueError: if it is of another study, does not vary what the study is about, or none is done.
      WorkdirError: if the folder holds neither.
    """
    is_sweep = (workdir / "sweep.json").exists()
    table = table_lib.load(workdir) if is_sweep else _load_run(workdir)
    if table.base["task"] not in TASKS[study]:
        raise ValueError(f"task={table.base['task']!r}: must be {' or '.join(TASKS[study])}")
    if is_sweep and AXES[study] not in table.varied:
        raise ValueError(f"{AXES[study]} does not vary in this sweep")
    if not is_sweep:
        table.rows[0][AXES[study]] = table.base[AXES[study]]
    done = [row for row in table.rows if row["status"] == "done"]
    if not done:
        raise ValueError("no run has ended yet")
    return table._replace(rows=done)


def _load_run(workdir: Path) -> table_lib.Table:
    config = workdir_lib.read_config(workdir)
    found = read_metrics(workdir / "metrics.jsonl")
    curve = [{"step": row["step"], "test_share_of_better": row["share_of_better"]}
             for row in found if row["kind"] == "train"]
    last = next((row for row in reversed(found) if row["kind"] == simulations.SPLIT), {})
    row = {f"test_{name}": value for name, value in last.items() if name not in ("step", "kind")}
    return table_lib.Table([{**row, "status": "done" if last else "missing", _CURVE: curve}], (),
                           config)


def draw(study: str, workdir: Path, output: Path) -> list[Path]:
    """Draws what there is to draw of a sweep, or of a run; raises as `load`.

    Returns:
      The pictures: trajectories.png; of a sweep inertia.png of a shock, rates.png of exploration
      rates; lattice.png and lattice.gif of a torus.
    """
    table, axis = load(study, workdir), AXES[study]
    is_shock = table.base["task"] != "exploration_rates"
    pictures = [output / "trajectories.png"]
    _plot_trajectories(table, axis, workdir, pictures[0])
    if axis not in table.varied:
        pass  # the figures of the run have more than a point
    elif is_shock:
        pictures.append(output / "inertia.png")
        _plot_inertia(table, axis, pictures[-1])
    else:
        pictures.append(output / "rates.png")
        _plot_rates(table, axis, pictures[-1])
    rows = next(iter(_lines(table, axis).values()))
    if table.base["graph"]["name"] == "torus" and "graph.name" not in table.varied:
        pictures += [output / "lattice.png", output / "lattice.gif"]
        _draw_lattices(table, axis, rows, *pictures[-2:])
    return pictures


def replay(config: Mapping[str, Any], times: list[int]) -> np.ndarray:
    """Replica 0 of a run at several generations: int8 [S, H, W].

    Args:
      config: of the run, checked; on a torus.
      times: ascending.
    """
    experiment = tasks.create({**config, "num_replicas": 1})
    functions = loop.run_functions(experiment.task)
    state = functions.init(config["seed"], experiment.hyper)
    advance = jax.jit(lambda state, n: jax.lax.fori_loop(
        0, n, lambda _, state: functions.step(state, ())[0], state))
    sides = config["graph"]["height"], config["graph"]["width"]
    pictures = []
    for n in np.diff(times, prepend=0):
        state = advance(state, int(n))
        pictures.append(np.asarray(state.task.strategies[0]).reshape(sides))
    return np.stack(pictures)


def _lines(table: table_lib.Table, axis: str) -> dict[str, list[table_lib.Row]]:
    """The runs of each combination of the other varied fields, by increasing axis."""
    others = [field for field in table.varied if field not in (axis, "seed")]
    lines: dict[str, list[table_lib.Row]] = {}
    for row in sorted(table.rows, key=lambda row: row[axis]):
        lines.setdefault(", ".join(str(row[field]) for field in others), []).append(row)
    return lines


def _plot_trajectories(table, axis, workdir, path) -> None:
    lines = _lines(table, axis)
    figure = Figure(figsize=(4.6 * len(lines) + 0.6, 3.4), layout="constrained")
    values = sorted({row[axis] for row in table.rows})
    colours = dict(zip(values, shades(len(values)), strict=True))
    panels = figure.subplots(1, len(lines), squeeze=False, sharey=True)[0]
    for axes, (label, rows) in zip(panels, lines.items(), strict=True):
        for row in rows:
            curve = _curve(workdir, row)
            axes.plot([point["step"] for point in curve],
                      [point["test_share_of_better"] for point in curve],
                      color=colours[row[axis]], linewidth=1, label=f"{row[axis]:g}")
            theory = _well_mixed(table, row)
            if theory is not None:
                shock = table.base["shock_generation"]
                axes.plot(np.arange(shock, shock + len(theory)), theory, "--", linewidth=0.8,
                          color=colours[row[axis]])
        if "shock_generation" in table.base:
            shock = table.base["shock_generation"]
            axes.axvline(shock, color="grey", linewidth=0.6, linestyle=":")
            # Until the slowest has arrived.
            last = max((point["step"] for row in rows for point in _curve(workdir, row)
                        if point["test_share_of_better"] < 0.95), default=shock)
            axes.set_xlim(max(0, shock - 30), min(shock + 1.2 * (last - shock) + 10,
                                                  table.base["num_generations"]))
        axes.set(xlabel="generation", ylim=(-0.02, 1.02), title=label)
        axes.title.set_fontsize(9)
    panels[0].set_ylabel("share of the better norm, mean")
    panels[-1].legend(title=f"{axis.replace('_', ' ')}\n(dashed: well mixed)", frameon=False,
                      fontsize=7, title_fontsize=7)
    figures.save(figure, path)


def _curve(workdir, row) -> list[dict[str, Any]]:
    return [point for point in row.get(_CURVE) or table_lib.load_curve(workdir, row)
            if "test_share_of_better" in point]


def _well_mixed(table, row) -> np.ndarray | None:
    """Shares of the better norm from the shock on, without space; None where rules differ."""
    config = next(_configs(table, [row]))
    if config["task"] == "exploration_rates" or (
            config.get("mutation"), config.get("comparison", "normalized"), config.get("rule")
            ) not in (("in_imitation", "normalized", None), ("as_2017", "normalized", "m1")):
        return None
    a, b = sorted(config["payoffs"].values())
    flow = mean_field.grid_flow(
        a, b, config["need_for_coordination"], config["selection_strength"],
        config["mutation_rate"], config.get("conformity", 0.0))
    before = mean_field.iterate(flow, 0.5, config["shock_generation"])[-1]
    return mean_field.iterate(
        flow, 1 - before, config["num_generations"] - config["shock_generation"])


def _plot_inertia(table, axis, path) -> None:
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    times, fraction = figure.subplots(1, 2)
    for i, (label, rows) in enumerate(_lines(table, axis).items()):
        x = [row[axis] for row in rows]
        for name, style in (("t50", "-"), ("t90", "--")):
            y, error = (np.array([row[f"test_{name}{end}"] for row in rows], float)
                        for end in ("", "_error"))
            times.errorbar(x, y, np.nan_to_num(error), color=f"C{i}", linestyle=style, marker="o",
                           markersize=3, capsize=2, label=f"{name} {label}")
        fraction.plot(x, [row["test_fraction_switched"] for row in rows], "o-", color=f"C{i}",
                      markersize=3, label=label or None)
    rows = next(iter(_lines(table, axis).values()))
    theory = {row[axis]: _well_mixed(table, row) for row in rows}
    theory = {x: int(np.argmax(shares >= 0.5)) for x, shares in theory.items()
              if shares is not None and np.any(shares >= 0.5)}
    if theory:
        times.plot(theory.keys(), theory.values(), "x", color="black", markersize=5,
                   label="t50, well mixed; none: never")
    name = axis.replace("_", " ")
    times.set(xlabel=name, ylabel="generations after the shock", yscale="log")
    fraction.set(xlabel=name, ylabel="fraction of replicas that switched", ylim=(-0.03, 1.03))
    times.legend(frameon=False, fontsize=7, handlelength=3.5)
    figures.save(figure, path)


def _plot_rates(table, axis, path) -> None:
    names = [name for name in table.rows[0] if name.startswith("test_share_of_rate_")]
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    shares, mean = figure.subplots(1, 2)
    rows = next(iter(_lines(table, axis).values()))
    x, bottom = np.arange(len(rows)), np.zeros(len(rows))
    for name, colour in zip(names, shades(len(names)), strict=True):
        heights = np.array([row[name] for row in rows])
        shares.bar(x, heights, bottom=bottom, color=colour, label=name.rpartition("_")[2])
        bottom += heights
    shares.set_xticks(x, [f"{row[axis]:g}" for row in rows])
    shares.set(xlabel=axis.replace("_", " "), ylabel="share of agents, second half")
    shares.legend(title="rate", frameon=False, fontsize=7, loc="center left",
                  bbox_to_anchor=(1, 0.5))
    mean.errorbar([row[axis] for row in rows], [row["test_mean_rate"] for row in rows],
                  [row["test_mean_rate_error"] or 0.0 for row in rows], marker="o", markersize=3,
                  capsize=2)
    mean.set(xlabel=axis.replace("_", " "), ylabel="mean exploration rate", ylim=(0, None))
    figures.save(figure, path)


def _configs(table, rows) -> Iterator[dict[str, Any]]:
    for row in rows:
        config = config_lib.default_config(table.base["task"])
        config.update({key: value for key, value in table.base.items() if key in config})
        for field in table.varied:
            config.update_from_flattened_dict({field: row[field]})
        yield config_lib.check_config(config, 1)


def _draw_lattices(table, axis, rows, strip: Path, animation: Path) -> None:
    start = table.base.get("shock_generation", 0)
    last = table.base["num_generations"]
    near = min(last - start, 320)
    frames = [start + round(t) for t in np.linspace(0, near, min(near, _MOST_FRAMES) + 1)]
    times = sorted({start + round(near * share) for share in (0, .02, .05, .12, .25, .5, 1)})
    every = sorted({*frames, *times})
    films = [replay(config, every) for config in _configs(table, rows)]
    figure = Figure(figsize=(1.15 * len(times) + 0.8, 1.2 * len(rows) + 0.3), layout="constrained")
    grid = figure.subplots(len(rows), len(times), squeeze=False)
    palette = np.array([[int(colour[i:i + 2], 16) for i in (1, 3, 5)] for colour in COLOURS],
                       np.uint8)
    for row, film, panels in zip(rows, films, grid, strict=True):
        panels[0].set_ylabel(f"{row[axis]:g}")
        for axes, t in zip(panels, times, strict=True):
            axes.imshow(palette[film[every.index(t)]], interpolation="nearest")
            axes.set(xticks=[], yticks=[])
    for axes, t in zip(grid[0], times, strict=True):
        axes.set_title(f"generation {t}", fontsize=7)
    figure.supylabel(axis.replace("_", " "), fontsize=9)
    figures.save(figure, strip)
    _animate([f"{row[axis]:g}" for row in rows], films, [every.index(t) for t in frames], frames,
             palette, animation)


def _animate(labels, films, places, times, palette, path: str | os.PathLike) -> None:
    """Lattices side by side, each pixel of an agent twice as wide and high."""
    height, width = 2 * films[0].shape[1], 2 * films[0].shape[2]
    pictures = []
    for place, time in zip(places, times, strict=True):
        size = (len(films) * (width + _GAP) - _GAP, height + 2 * _TITLE)
        picture = Image.new("RGB", size, "white")
        draw = ImageDraw.Draw(picture)
        draw.text((0, 0), f"generation {time}", fill="black")
        for i, (label, film) in enumerate(zip(labels, films, strict=True)):
            left = i * (width + _GAP)
            draw.text((left, _TITLE), label, fill="black")
            lattice = np.repeat(np.repeat(palette[film[place]], 2, 0), 2, 1)
            picture.paste(Image.fromarray(lattice), (left, 2 * _TITLE))
        pictures.append(picture.quantize(8))
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=80, loop=0)
