"""A picture of what an augmentation makes of images."""

import os

import numpy as np
from matplotlib.figure import Figure

from nfnets_jax.reports import figures


def plot(images: np.ndarray, view_1: np.ndarray, view_2: np.ndarray,
         path: str | os.PathLike) -> None:
    """Draws the images in a row, and their two views below.

    Args:
      images: [N, H, W, C], uint8 or float in 0 .. 1, grey or RGB.
      view_1, view_2: [N, S, S, C], likewise.
      path: of the picture; its suffix says the format.
    """
    rows = {"image": images, "view 1": view_1, "view 2": view_2}
    figure = Figure(figsize=(1.1 * len(images) + 0.6, 3.6), layout="constrained")
    grid = figure.subplots(3, len(images), squeeze=False)
    for axes, (name, pictures) in zip(grid, rows.items(), strict=True):
        for column, picture in zip(axes, pictures, strict=True):
            values = picture / 255.0 if picture.dtype == np.uint8 else picture
            column.imshow(np.squeeze(values), cmap="gray", vmin=0, vmax=1)
            column.set_xticks([])
            column.set_yticks([])
        axes[0].set_ylabel(name)
    figures.save(figure, path)
