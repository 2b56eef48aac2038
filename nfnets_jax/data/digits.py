"""scikit-learn's handwritten digits as TFDS data sets: real images that need no download."""

import abc
import contextlib
import io
import os
from collections.abc import Mapping

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

_Examples = tuple[np.ndarray, np.ndarray]  # images [N, 8, 8], labels [N]

_NUM_TRAIN = 1437
_NUM_PERMUTED_TRAIN = 1024
_NOISE = 0.2


class _DigitsBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """1,797 handwritten digits of 8x8 pixels; the values 0 .. 16 are stored as 0, 15, .. 240.

    Source: Alpaydin and Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI Machine
    Learning Repository, https://doi.org/10.24432/C50P49.
    """

    VERSION = tfds.core.Version("1.0.0")
    NUM_CLASSES = 10
    # Nothing is downloaded. Left unset, TFDS would look for checksums beside this file, by way of
    # a package that it does not install.
    url_infos = None

    @abc.abstractmethod
    def _splits(self, images: np.ndarray, labels: np.ndarray) -> Mapping[str, _Examples]:
        """Divides the digits, given in the order of scikit-learn."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="scikit-learn's 1,797 handwritten digits of 8x8 pixels.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=self.NUM_CLASSES),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://doi.org/10.24432/C50P49",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        # Imported here: needed once for each data_dir, and slow to import.
        from sklearn import datasets

        bunch = datasets.load_digits()
        splits = self._splits((bunch.images * 15).astype(np.uint8), bunch.target)
        return {split: self._generate_examples(*examples) for split, examples in splits.items()}

    def _generate_examples(self, images, labels):
        for key, (image, label) in enumerate(zip(images, labels, strict=True)):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "PNG")
            yield key, {"image": io.BytesIO(png.getvalue()), "label": int(label)}


class Digits(_DigitsBuilder):
    """The digits in the order of scikit-learn.

    The first 1,437 are for training and the last 360, by other writers, for testing.
    """

    name = "digits"

    def _splits(self, images, labels):
        return {"train": (images[:_NUM_TRAIN], labels[:_NUM_TRAIN]),
                "test": (images[_NUM_TRAIN:], labels[_NUM_TRAIN:])}


class DigitsParity(Digits):
    """The same images in the same order and splits, labelled 0 if even and 1 if odd."""

    name = "digits_parity"
    NUM_CLASSES = 2

    def _splits(self, images, labels):
        return super()._splits(images, labels % 2)


class DigitsPermuted(_DigitsBuilder):
    """The digits in an order drawn from NumPy's `RandomState(0)`.

    The first 1,024 are for training, so that every batch size up to there that is a power of 2
    divides them, and the last 773 for testing. In 'train_noisy' the labels of the first 204
    training images are drawn anew, uniformly over the 10 classes.
    """

    name = "digits_permuted"

    def _splits(self, images, labels):
        random = np.random.RandomState(0)
        order = random.permutation(len(images))
        train, test = order[:_NUM_PERMUTED_TRAIN], order[_NUM_PERMUTED_TRAIN:]
        num_noisy = int(_NOISE * _NUM_PERMUTED_TRAIN)
        noisy = labels[train]
        noisy[:num_noisy] = random.randint(0, 10, num_noisy)
        return {"train": (images[train], labels[train]),
                "train_noisy": (images[train], noisy),
                "test": (images[test], labels[test])}


BUILDERS = {builder.name: builder for builder in (Digits, DigitsParity, DigitsPermuted)}


def prepare(name: str, data_dir: str | os.PathLike) -> None:
    """Writes the set `name` of `BUILDERS` under `data_dir` unless it is already there.

    TFDS writes into a folder of its own and renames it when it is whole, so that a killed
    preparation is never read. Where several processes prepare at once the first rename wins and
    the others find its result.
    """
    builder = BUILDERS[name](data_dir=data_dir, file_format="array_record")
    quiet = io.StringIO()
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(try_download_gcs=False)
            )
    except OSError:
        if not builder.data_path.exists():
            raise
