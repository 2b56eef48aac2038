"""Writes small data sets in the on-disk format of the real ones, for tests and benchmarks."""

import contextlib
import io
import os
from collections.abc import Mapping, Sequence

import tensorflow_datasets as tfds

from nfnets_jax.data import catalog, digits


class _SmallCopy(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder with the name, version and features of a real one, and examples from memory."""

    VERSION = tfds.core.Version("0.0.0")  # replaced by the real builder's
    url_infos = None

    def __init__(self, real: tfds.core.DatasetBuilder, splits, data_dir: str | os.PathLike):
        self.name, self.VERSION = real.name, real.version
        self._features, self._splits = real.info.features, splits
        super().__init__(
            data_dir=data_dir, config=real.builder_config, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"A small set in the format of {self.name}.",
            features=self._features,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {
            split: self._generate_examples(split, examples)
            for split, examples in self._splits.items()
        }

    def _generate_examples(self, split, examples):
        for key, (data, label) in enumerate(examples):
            values = {
                "image": io.BytesIO(data),
                "label": int(label),
                # Fields that no loader reads: CIFAR's, CIFAR-100's and ImageNet's.
                "id": f"{split}_{key:05d}",
                "coarse_label": 0,
                "file_name": f"{split}_{key:08d}.JPEG",
            }
            yield key, {field: values[field] for field in self._features}


def write_dataset(
    name: str,
    data_dir: str | os.PathLike,
    splits: Mapping[str, Sequence[tuple[bytes, int]]],
) -> None:
    """Writes examples so that they are read by name as if they were the real set.

    Features, version and file format are those of TFDS's builder; unlike it, the examples stay in
    the order given.

    Args:
      name: a name of `catalog.names()`.
      data_dir: where to put the set; must not hold it already.
      splits: for each split of the real set on disk ('train', 'test'; 'train', 'validation' for
        imagenet2012) its (JPEG or PNG bytes, label) pairs.

    Raises:
      ValueError: unknown name, a label that the real set does not have, or the set is there.
    """
    num_classes = catalog.info(name).num_classes
    for split, examples in splits.items():
        for key, (_, label) in enumerate(examples):
            if not 0 <= label < num_classes:
                raise ValueError(
                    f"label={label} of example {key} of split {split!r} is not a class of "
                    f"{name!r}; use 0 .. {num_classes - 1}"
                )
    real = digits.BUILDERS.get(name) or tfds.builder_cls(name)
    builder = _SmallCopy(real(data_dir=data_dir), splits, data_dir)
    if builder.data_path.exists():
        raise ValueError(f"{builder.data_path} is there already; choose another data_dir")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
