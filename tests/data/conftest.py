"""Small data sets on disk, shared by the tests of `nfnets_jax.data`."""

import numpy as np
import pytest

from nfnets_jax.data import writing

from .pictures import encode, photograph


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A data_dir where `digits` is written at its first use."""
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="session")
def cifar(tmp_path_factory):
    """A small set in CIFAR-10's format: its data_dir, images and labels of both splits."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("cifar")
    content = {
        split: (
            rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
            rng.integers(0, 10, count),
        )
        for split, count in (("train", 45), ("test", 7))
    }
    writing.write_dataset(
        "cifar10",
        root,
        {
            split: [(encode(image, "PNG"), label) for image, label in zip(*both, strict=True)]
            for split, both in content.items()
        },
    )
    return root, content


@pytest.fixture(scope="session")
def imagenet(tmp_path_factory):
    """A small set in ImageNet's format: 10,000 black squares before 20 training pictures.

    The last black square has label 1, the others 0; the pictures have labels from 2. Returns the
    data_dir and the validation pictures (as bytes) with their labels.
    """
    rng = np.random.default_rng(1)
    root = tmp_path_factory.mktemp("imagenet")
    black = encode(np.zeros((8, 8, 3), np.uint8), "JPEG")
    train = [(black, 0)] * 9_999 + [(black, 1)]
    train += [
        (encode(photograph(rng, 40 + key, 60), "JPEG", quality=95), 2 + key) for key in range(20)
    ]
    shapes = [(48, 64), (64, 48), (200, 300), (31, 90), (64, 64)]
    validation = [
        (encode(photograph(rng, *shape), "JPEG", quality=95), 990 + key)
        for key, shape in enumerate(shapes)
    ]
    writing.write_dataset("imagenet2012", root, {"train": train, "validation": validation})
    return root, validation
