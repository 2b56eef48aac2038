"""A picture of images and of what an autoencoder makes of them."""

import os

import numpy as np
from matplotlib.figure import Figure

from nfnets_jax.reports import figures


def plot(images: np.ndarray, reconstructions: np.ndarray, path: str | os.PathLike,
         title: str) -> None:
    """Draws the images in a row, and their reconstructions below.

    Args:
      images: float [N, H, W, C] in 0 .. 1, grey or RGB.
      reconstructions: likewise; what lies outside 0 .. 1 is clipped.
      path: of the picture; its suffix says the format.
      title: of the whole figure.
    """
    figure = Figure(figsize=(1.1 * len(images) + 0.6, 2.8), layout="constrained")
    grid = figure.subplots(2, len(images), squeeze=False)
    for axes, name, pictures in zip(grid, ("image", "reconstruction"), (images, reconstructions),
                                    strict=True):
        for column, picture in zip(axes, np.clip(pictures, 0.0, 1.0), strict=True):
            column.imshow(np.squeeze(picture), cmap="gray", vmin=0, vmax=1)
            column.set_xticks([])
            column.set_yticks([])
        axes[0].set_ylabel(name)
    figure.suptitle(title, fontsize=10)
    figures.save(figure, path)
