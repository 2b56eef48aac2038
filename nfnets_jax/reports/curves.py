"""Learning curves of a run, from its metrics file."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nfnets_jax.reports import figures
from nfnets_jax.training.metrics import read_metrics

# Title of a panel -> the metrics in it.
Panels = Mapping[str, Sequence[str]]

PANELS: Panels = {"loss": ["loss"], "squared error": ["squared_error"],
                  "test error": ["test_error"], "accuracy": ["accuracy"],
                  "learning rate": ["learning_rate"], "gradient norm": ["gradient_norm"],
                  "cosine of gradients": ["min_cosine", "median_cosine"],
                  "smallest eigenvalue": ["lambda_min"], "largest eigenvalue": ["lambda_max"],
                  "gradient noise scale": ["noise_scale"]}
_MOST_COLUMNS = 4


def plot(
    metrics_path: str | os.PathLike,
    path: str | os.PathLike,
    panels: Panels = PANELS,
    annotate: Callable[[Figure, dict[str, Axes], list[dict[str, Any]]], None] | None = None,
) -> None:
    """Draws metrics against the step; panels without any data are left out.

    Args:
      metrics_path: the `metrics.jsonl` of a run.
      path: of the picture; its suffix says the format.
      panels: what is drawn where.
      annotate: `(figure, axes by title, records)`, adds to the finished panels.

    Raises:
      ValueError: if nothing has been logged yet, or the suffix names no format.
    """
    records = read_metrics(metrics_path)
    if not records:
        raise ValueError(f"{metrics_path}: nothing has been logged yet")
    panels = {title: names for title, names in panels.items()
              if any(name in record for record in records for name in names)}
    columns = min(_MOST_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4 * columns, 3.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in grid[len(panels):]:
        axes.axis("off")
    by_title = dict(zip(panels, grid, strict=False))
    for title, axes in by_title.items():
        for name in panels[title]:
            for kind in dict.fromkeys(record["kind"] for record in records):
                points = [(r["step"], r[name]) for r in records if r["kind"] == kind and name in r]
                if points:
                    several = len(panels[title]) > 1
                    axes.plot(*zip(*points, strict=True), markersize=3,
                              label=f"{kind} {name.replace('_', ' ')}" if several else kind,
                              marker="o" if kind != "train" else None)
        axes.set_xlabel("step")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    if annotate is not None:
        annotate(figure, by_title, records)
    figures.save(figure, path)
