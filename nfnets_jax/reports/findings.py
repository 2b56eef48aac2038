"""The arrays that an analysis found at one step, and pictures of them."""

import os
from pathlib import Path

import numpy as np

from nfnets_jax.analysis.diagnostics import Findings
from nfnets_jax.reports import curvature, gradient_confusion


def save(findings: Findings, directory: str | os.PathLike, step: int) -> None:
    """Writes `step_{step}.npz`, `cosines_{step}.png` and `spectrum_{step}.png` into a folder.

    Each file appears complete or not at all; there are files only of what was measured.
    """
    if not findings.arrays:
        return
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    arrays = findings.arrays
    unfinished = directory / f".step_{step}.npz"
    np.savez(unfinished, **arrays)
    unfinished.replace(directory / f"step_{step}.npz")
    if "cosines" in arrays:
        gradient_confusion.plot_cosines(
            {f"step {step}": arrays["cosines"]}, directory / f"cosines_{step}.png")
    if "ritz_values" in arrays:
        curvature.plot_density(
            arrays["ritz_values"], arrays["ritz_weights"], directory / f"spectrum_{step}.png",
            f"Spectral density of the Hessian, step {step}")
