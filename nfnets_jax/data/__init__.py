"""Data sets by name: TFDS files, Grain loaders, host decoding and augmentation on the device."""

from nfnets_jax.data.augment import augment, normalize
from nfnets_jax.data.catalog import DatasetInfo, info, names
from nfnets_jax.data.images import EVALUATION_CROPS
from nfnets_jax.data.loading import eval_batches, train_batches
from nfnets_jax.data.mixing import mix
from nfnets_jax.data.prefetch import prefetch_to_device
from nfnets_jax.data.randaugment import randaugment
from nfnets_jax.data.reading import mean_image, num_examples
from nfnets_jax.data.resident import resident_split
from nfnets_jax.data.text import CORPORA, LEVELS, load_corpus, token_batches, window_batches
from nfnets_jax.data.views import VIEW_1, VIEW_2, ViewSpec, make_view

__all__ = [
    "CORPORA",
    "EVALUATION_CROPS",
    "LEVELS",
    "VIEW_1",
    "VIEW_2",
    "DatasetInfo",
    "ViewSpec",
    "augment",
    "eval_batches",
    "info",
    "load_corpus",
    "make_view",
    "mean_image",
    "mix",
    "names",
    "normalize",
    "num_examples",
    "prefetch_to_device",
    "randaugment",
    "resident_split",
    "token_batches",
    "train_batches",
    "window_batches",
]
