"""Signal propagation plots (Brock et al. 2021, arXiv 2101.08692, section 3)."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nfnets_jax.reports import figures

_PANELS = (
    ("average_squared_mean", "Squared mean of block output"),
    ("average_variance", "Variance of block output"),
    ("residual_variance", "Variance of residual branch"),
)


def plot(
    measured: Mapping[str, Sequence[float]],
    expected: Mapping[str, Sequence[float]] | None,
    path: str | os.PathLike,
    title: str,
) -> None:
    """Writes a signal propagation plot: each quantity averaged over channels, against the block.

    The file appears complete or not at all. In the first two panels index 0 is the stem's output
    and index l the output of block l; the third shows the branch of block l at index l.

    Args:
      measured: as returned by `analysis.signal_propagation.measure`; drawn as dots.
      expected: as returned by `nets.expected_variance`; drawn as a line where it is finite. A
        drop of its variance is where a stage begins. None draws no prediction.
      path: of the image; its suffix says the format (.png, .pdf or .svg).
      title: above the panels.

    Raises:
      ValueError: if a quantity is missing from `measured`, if its length does not agree with that
        of `expected`, or if the suffix names no format that can be written.
    """
    figures.check_format(path)
    missing = sorted({name for name, *_ in _PANELS} - set(measured))
    if missing:
        raise ValueError(f"measured has no {', '.join(missing)}; pass what measure() returns")
    figure = Figure(figsize=(12.0, 3.6), layout="constrained")
    figure.suptitle(title)
    for axes, (name, label) in zip(figure.subplots(1, 3, sharex=True), _PANELS, strict=True):
        values = np.asarray(measured[name], float)
        blocks = np.arange(len(values)) + (1 if name == "residual_variance" else 0)
        if expected is not None:
            prediction = np.asarray(expected[name], float)
            if prediction.shape != values.shape:
                raise ValueError(
                    f"expected[{name!r}] has {prediction.size} values and measured has "
                    f"{values.size}; both must be of the same network"
                )
            axes.plot(blocks, prediction, color="tab:orange", linewidth=1.5, label="predicted")
        size = 6 if len(values) < 60 else 3
        axes.plot(blocks, values, ".", color="tab:blue", markersize=size, label="measured")
        axes.set_title(label, fontsize="medium")
        axes.set_xlabel("block (0: stem)")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        upper = _upper_limit(axes)
        axes.set_ylim(-0.03 * upper, upper)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3, linewidth=0.5)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2,
                  frameon=False)
    figures.save(figure, path)


def _upper_limit(axes) -> float:
    data = np.concatenate([line.get_ydata() for line in axes.get_lines()])
    finite = data[np.isfinite(data)]
    # At least 0.1, so that a squared mean of nearly zero looks like nearly zero.
    return max(1.08 * finite.max(initial=0.0), 0.1)
