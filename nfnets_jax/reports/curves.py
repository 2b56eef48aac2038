"""Learning curves of a run, from its metrics file."""

import os

from matplotlib.figure import Figure

from nfnets_jax.reports import figures
from nfnets_jax.training.metrics import read_metrics


def plot(metrics_path: str | os.PathLike, path: str | os.PathLike) -> None:
    """Draws loss, accuracy and learning rate against the step.

    Args:
      metrics_path: the `metrics.jsonl` of a run.
      path: of the picture; its suffix says the format.

    Raises:
      ValueError: if nothing has been logged yet, or the suffix names no format.
    """
    records = read_metrics(metrics_path)
    if not records:
        raise ValueError(f"{metrics_path}: nothing has been logged yet")
    panels = [name for name in ("loss", "accuracy", "learning_rate")
              if any(name in record for record in records)]
    figure = Figure(figsize=(4 * len(panels), 3.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for kind in dict.fromkeys(record["kind"] for record in records):
            points = [(r["step"], r[name]) for r in records if r["kind"] == kind and name in r]
            if points:
                axes.plot(*zip(*points, strict=True), label=kind,
                          marker="o" if kind != "train" else None, markersize=3)
        axes.set_xlabel("step")
        axes.set_title(name.replace("_", " "))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figures.save(figure, path)
