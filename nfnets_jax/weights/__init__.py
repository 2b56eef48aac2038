"""Published weights: reading, writing, and the images they expect."""

from nfnets_jax.weights.byol_checkpoint import load_byol
from nfnets_jax.weights.preparation import Preprocessing, prepare, preprocessing
from nfnets_jax.weights.reading import load
from nfnets_jax.weights.writing import save

__all__ = ("Preprocessing", "load", "load_byol", "prepare", "preprocessing", "save")
