"""Images beside the classes that a network gives them."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from nfnets_jax.reports import figures

_MAX_LABEL_LENGTH = 28


def plot(
    images: Sequence[np.ndarray],
    titles: Sequence[str],
    predictions: Sequence[Sequence[tuple[str, float]]],
    path: str | os.PathLike,
) -> None:
    """Draws each image, and bars of the probabilities of its classes.

    Args:
      images: uint8 [H, W, C] each, as they are shown.
      titles: above the images.
      predictions: of each image, (name, probability) from the likeliest class on.
      path: of the picture; its suffix says the format.

    Raises:
      ValueError: if the suffix names no format.
    """
    figure = Figure(figsize=(7, 2.4 * len(images)), layout="constrained")
    rows = figure.subplots(len(images), 2, squeeze=False, width_ratios=(1, 1.6))
    for (left, right), image, title, classes in zip(rows, images, titles, predictions, strict=True):
        left.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray")
        left.set_title(title, fontsize=9)
        left.set_axis_off()
        places = np.arange(len(classes))
        right.barh(places, [probability for _, probability in classes])
        right.set_yticks(places, [_shorten(name) for name, _ in classes], fontsize=8)
        right.invert_yaxis()
        right.set_xlim(0, 1)
        right.set_xlabel("probability", fontsize=8)
    figures.save(figure, path)


def _shorten(name: str) -> str:
    return name if len(name) <= _MAX_LABEL_LENGTH else name[:_MAX_LABEL_LENGTH - 1] + "…"
