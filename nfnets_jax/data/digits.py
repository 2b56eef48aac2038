"""scikit-learn's handwritten digits as a TFDS data set: real images that need no download."""

import contextlib
import io
import os

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

_NUM_TRAIN = 1437


class Digits(tfds.core.GeneratorBasedBuilder):
    """1,797 handwritten digits of 8x8 pixels, in the order of scikit-learn.

    The first 1,437 are for training and the last 360, by other writers, for testing. The values
    0 .. 16 are stored as 0, 15, .. 240.

    Source: Alpaydin and Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI Machine
    Learning Repository, https://doi.org/10.24432/C50P49.
    """

    name = "digits"
    VERSION = tfds.core.Version("1.0.0")
    # Nothing is downloaded. Left unset, TFDS would look for checksums beside this file, by way of
    # a package that it does not install.
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="scikit-learn's 1,797 handwritten digits of 8x8 pixels.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
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
        images, labels = (bunch.images * 15).astype(np.uint8), bunch.target
        return {
            "train": self._generate_examples(images[:_NUM_TRAIN], labels[:_NUM_TRAIN]),
            "test": self._generate_examples(images[_NUM_TRAIN:], labels[_NUM_TRAIN:]),
        }

    def _generate_examples(self, images, labels):
        for key, (image, label) in enumerate(zip(images, labels, strict=True)):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "PNG")
            yield key, {"image": io.BytesIO(png.getvalue()), "label": int(label)}


def prepare(data_dir: str | os.PathLike) -> None:
    """Writes the set under `data_dir` unless it is already there.

    TFDS writes into a folder of its own and renames it when it is whole, so that a killed
    preparation is never read. Where several processes prepare at once the first rename wins and
    the others find its result.
    """
    builder = Digits(data_dir=data_dir, file_format="array_record")
    quiet = io.StringIO()
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(try_download_gcs=False)
            )
    except OSError:
        if not builder.data_path.exists():
            raise
