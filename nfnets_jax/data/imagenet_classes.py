"""The names of ImageNet's 1000 classes."""

import functools
import importlib.resources
from typing import NamedTuple


class ImagenetClass(NamedTuple):
    """One class.

    Attributes:
      wnid: its WordNet identifier, which also names its folder in the data set.
      name: its synonyms, separated by commas.
    """

    wnid: str
    name: str


@functools.cache
def imagenet_classes() -> tuple[ImagenetClass, ...]:
    """Returns the classes in the order of the labels, which is that of the identifiers."""
    file = importlib.resources.files("nfnets_jax.data") / "imagenet_classes.txt"
    lines = file.read_text(encoding="utf-8").splitlines()
    return tuple(ImagenetClass(*line.split("\t")) for line in lines)
