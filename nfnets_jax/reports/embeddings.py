"""Pictures of embeddings: at one moment, and over a run; a collapse is marked."""

import os

import numpy as np
from matplotlib.figure import Figure

from nfnets_jax.analysis.embeddings import COLLAPSED_COSINE
from nfnets_jax.reports import curves, figures

_ALARM = "tab:red"
# Title of a panel -> the metrics in it.
_PANELS = {
    "loss": ("loss",),
    "accuracy of the probes": ("accuracy", "knn_accuracy", "ridge_accuracy"),
    "spread of normalized embeddings": ("projection_std", "feature_std"),
    "cosine of projections": ("positive_cosine", "negative_cosine"),
    "effective rank": ("projection_rank", "feature_rank"),
    "distance of the target network": ("target_distance",),
    "learning rate": ("learning_rate",),
}
# Those whose scale has an end; the lower end of the cosines is where they are.
_LIMITS = {"accuracy of the probes": (0, 1.02), "spread of normalized embeddings": (0, 1.02),
           "cosine of projections": (None, 1.02), "effective rank": (0, None)}


def plot(features: np.ndarray, projections: np.ndarray, path: str | os.PathLike, title: str,
         verdict: str | None = None, labels: np.ndarray | None = None) -> None:
    """Draws spectra, the spread of every dimension, and the plane of the largest variance.

    Args:
      features: [N, F], of the encoder.
      projections: [N, D].
      path: of the picture; its suffix says the format.
      title: of the figure.
      verdict: what is wrong; printed in red.
      labels: int [N], which colour the plane.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    spectrum, spread, plane = figure.subplots(1, 3)
    kinds = {"features": _normalize(features), "projections": _normalize(projections)}
    for name, x in kinds.items():
        values = np.linalg.svd(x - x.mean(0), compute_uv=False)
        spectrum.plot(np.arange(1, len(values) + 1),
                      np.maximum(values / np.sqrt(len(x)), 1e-8), label=name)
        relative = np.sort(x.std(0))[::-1] * np.sqrt(x.shape[1])
        spread.plot(np.linspace(0, 1, len(relative)), relative, label=name)
    spectrum.set(yscale="log", ylim=(1e-8, 2), xlabel="direction",
                 title="standard deviation along\nprincipal directions")
    spread.axhline(1.0, color="k", lw=0.8, ls=":", label=r"$1/\sqrt{d}$")
    spread.set(ylim=(0, None), xlabel="dimensions, sorted",
               title=r"standard deviation of each" "\n" r"dimension $\times \sqrt{d}$")
    x = kinds["projections"] - kinds["projections"].mean(0)
    directions = np.linalg.svd(x, full_matrices=False)[2][:2]
    points = x @ directions.T
    plane.scatter(*points.T, c=labels, cmap="tab10" if labels is not None else None, s=8)
    plane.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal",
              title="projections, two principal directions\n(on the unit sphere, to scale)")
    for axes in (spectrum, spread):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.suptitle(title if verdict is None else f"{title}\n{verdict}",
                    color=None if verdict is None else _ALARM)
    figures.save(figure, path)


def plot_curves(metrics_path: str | os.PathLike, path: str | os.PathLike) -> None:
    """Draws the curves of a pretraining run; steps at which it was collapsed are shaded in red.

    Args:
      metrics_path: the `metrics.jsonl` of the run.
      path: of the picture; its suffix says the format.

    Raises:
      ValueError: if nothing has been logged yet, or the suffix names no format.
    """
    curves.plot(metrics_path, path, _PANELS, _mark_collapse)


def _mark_collapse(figure: Figure, by_title: dict, records: list[dict]) -> None:
    measured = [r for r in records if "negative_cosine" in r]
    for title, axes in by_title.items():
        for before, record in zip([{"step": 0}, *measured], measured, strict=False):
            if record["negative_cosine"] > COLLAPSED_COSINE:
                axes.axvspan(before["step"], record["step"], color=_ALARM, alpha=0.12, lw=0)
        axes.set_ylim(*_LIMITS.get(title, (None, None)))
        if title == "cosine of projections":
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    if measured and measured[-1]["negative_cosine"] > COLLAPSED_COSINE:
        figure.suptitle("COLLAPSED: different images have the same projection", color=_ALARM)


def _normalize(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)
