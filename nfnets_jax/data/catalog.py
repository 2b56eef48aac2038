"""What is known of each data set before any file is opened."""

import dataclasses
from collections.abc import Mapping

from nfnets_jax.naming import nearest


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """The static facts of one data set.

    Attributes:
      name: the name TFDS knows it by.
      num_classes: number of labels; labels are 0 .. num_classes - 1.
      channels: 1 (grey) or 3 (RGB).
      image_size: side of the square images in pixels; None where sizes differ (ImageNet).
      splits: the names of this library, each with the TFDS split it stands for.
      mean: mean of each channel over the training images, in pixel values 0 .. 255.
      std: standard deviation of each channel, in the same unit, or what a set's own recipe divides
        by instead.
    """

    name: str
    num_classes: int
    channels: int
    image_size: int | None
    splits: Mapping[str, str]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def _scaled(*fractions: float) -> tuple[float, ...]:
    return tuple(255 * fraction for fraction in fractions)


_TRAIN_TEST = {"train": "train", "test": "test"}

_DIGITS = dict(channels=1, image_size=8, splits=_TRAIN_TEST, mean=(73.2927,), std=(90.1217,))

_DATASETS = {
    dataset.name: dataset
    for dataset in (
        DatasetInfo("digits", 10, **_DIGITS),
        DatasetInfo("digits_parity", 2, **_DIGITS),
        # Inputs are the digits' own values over 16, less their mean.
        DatasetInfo(
            "digits_permuted",
            10,
            1,
            8,
            {"train": "train", "train_noisy": "train_noisy", "test": "test"},
            mean=(73.2198,),
            std=(240.0,),
        ),
        DatasetInfo("mnist", 10, 1, 28, _TRAIN_TEST, _scaled(0.1307), _scaled(0.3081)),
        DatasetInfo(
            "cifar10",
            10,
            3,
            32,
            _TRAIN_TEST,
            mean=_scaled(0.4914, 0.4822, 0.4465),
            std=_scaled(0.2470, 0.2435, 0.2616),
        ),
        DatasetInfo(
            "cifar100",
            100,
            3,
            32,
            _TRAIN_TEST,
            mean=_scaled(0.5071, 0.4865, 0.4409),
            std=_scaled(0.2673, 0.2564, 0.2762),
        ),
        DatasetInfo(
            "imagenette",
            10,
            3,
            None,
            {"train": "train", "test": "validation"},
            mean=_scaled(0.485, 0.456, 0.406),
            std=_scaled(0.229, 0.224, 0.225),
        ),
        # The split and the constants of Brock et al. (2021), "High-Performance Large-Scale Image
        # Recognition Without Normalization": the test set of the paper is ILSVRC's validation set.
        DatasetInfo(
            "imagenet2012",
            1000,
            3,
            None,
            {
                "train": "train[10000:]",
                "valid": "train[:10000]",
                "train_and_valid": "train",
                "test": "validation",
            },
            mean=_scaled(0.485, 0.456, 0.406),
            std=_scaled(0.229, 0.224, 0.225),
        ),
    )
}


def names() -> tuple[str, ...]:
    """The names of all data sets."""
    return tuple(_DATASETS)


def info(name: str) -> DatasetInfo:
    """The static facts of the data set `name`.

    Raises:
      ValueError: no data set has this name.
    """
    if name not in _DATASETS:
        raise ValueError(f"data set {name!r} is unknown; nearest: {nearest(name, _DATASETS)}")
    return _DATASETS[name]
