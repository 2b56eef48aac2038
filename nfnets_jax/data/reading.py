"""Finds prepared TFDS data sets on disk and opens their splits, without TensorFlow."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import constants, file_adapters, read_only_builder

from nfnets_jax.data import catalog, digits, images

# TFDS 4.9 imports all of these when its command line starts, whatever the command.
_NEEDS_TENSORFLOW = (
    "That one command needs TensorFlow, training does not; run it in an environment of its own:\n"
    "  pip install tensorflow tensorflow-datasets apache-beam mlcroissant importlib_resources"
)


def resolve_data_dir(data_dir: str | os.PathLike | None) -> Path:
    """The folder that holds the sets: `data_dir`, else $TFDS_DATA_DIR, else TFDS's default."""
    chosen = constants.get_default_data_dir() if data_dir is None else data_dir
    return Path(chosen).expanduser().absolute()


def open_builder(
    name: str, data_dir: str | os.PathLike | None = None
) -> tfds.core.DatasetBuilder:
    """Opens the newest version of the set `name` under `data_dir`; writes the digits if missing.

    Raises:
      ValueError: unknown name, or the files are in a format without random access.
      FileNotFoundError: the set is not there; the message has the command that gets it.
    """
    catalog.info(name)
    root = resolve_data_dir(data_dir)
    try:
        builder = _find(name, root)
    except tfds.core.DatasetNotFoundError as error:
        if name not in digits.BUILDERS:
            raise FileNotFoundError(_missing_message(name, root)) from error
        digits.prepare(name, root)
        builder = _find(name, root)
    if file_adapters.FileFormat.ARRAY_RECORD not in builder.info.available_file_formats():
        raise ValueError(
            f"the data set {name!r} in {builder.data_path} is in the format "
            f"{builder.info.file_format.value!r}, which has no random access; convert it with\n"
            f"  tfds convert_format --dataset_version_dir={builder.data_path} "
            f"--out_file_format=array_record\n{_NEEDS_TENSORFLOW}"
        )
    return builder


def _find(name: str, root: Path) -> tfds.core.DatasetBuilder:
    return read_only_builder.builder_from_files(name, data_dir=root)


def _missing_message(name: str, root: Path) -> str:
    lines = [
        f"the data set {name!r} is not in data_dir={str(root)!r}; get it with",
        f"  tfds build {name} --file_format=array_record --data_dir={root}",
    ]
    if name == "imagenet2012":
        lines.append(
            "after putting ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar (from "
            "https://image-net.org/download-images, free registration) into "
            f"{root / 'downloads' / 'manual'}."
        )
    return "\n".join([*lines, _NEEDS_TENSORFLOW])


def resolve_split(builder: tfds.core.DatasetBuilder, split: str) -> str:
    """Translates a split into TFDS's own language and checks that it holds an example.

    Args:
      builder: the opened data set.
      split: a name of `DatasetInfo.splits`, or a TFDS split expression such as 'train[:45000]'
        or 'train[:90%]+test', whose names are those of the files on disk.

    Returns:
      A TFDS split expression.

    Raises:
      ValueError: unknown name, malformed expression or no examples.
    """
    named = catalog.info(builder.name).splits
    spec = named.get(split, split)
    on_disk = {key: value.num_examples for key, value in builder.info.splits.items()}
    if split not in named and "[" not in split and "+" not in split:
        raise ValueError(
            f"unknown split {split!r} of {builder.name!r}; use one of {list(named)}, or a TFDS "
            f"expression such as 'train[:90%]' over the splits on disk {list(on_disk)}"
        )
    try:
        count = builder.info.splits[spec].num_examples
        reason = "it holds no examples"
    except (ValueError, AssertionError) as error:
        count, reason = 0, str(error)
    if count == 0:
        raise ValueError(
            f"split {split!r} of {builder.name!r} (TFDS {spec!r}) cannot be read from "
            f"{builder.data_path}, which holds {on_disk}: {reason}"
        )
    return spec


def num_examples(
    name: str, *, split: str, data_dir: str | os.PathLike | None = None
) -> int:
    """The number of examples of a split, as written on disk.

    Raises:
      ValueError, FileNotFoundError: as `open_builder` and `resolve_split`.
    """
    builder = open_builder(name, data_dir)
    return builder.info.splits[resolve_split(builder, split)].num_examples


def open_split(builder: tfds.core.DatasetBuilder, spec: str) -> Sequence[dict]:
    """Random access to a split; each record has 'image' (encoded bytes) and 'label' (int)."""
    return builder.as_data_source(spec, decoders={"image": tfds.decode.SkipDecoding()})


@functools.lru_cache(maxsize=8)
def read_all(
    name: str, path: str, spec: str, image_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Decodes a whole split of equally sized images into memory, once per process.

    Args:
      name: name of the set.
      path: folder of the prepared version.
      spec: a TFDS split expression.
      image_size: side S to which the images are resized, where theirs is another.

    Returns:
      images uint8 [N, S, S, C] and labels int32 [N]; both are shared and read-only.
    """
    info = catalog.info(name)
    source = open_split(read_only_builder.builder_from_directory(path), spec)
    pixels = np.empty((len(source), image_size, image_size, info.channels), np.uint8)
    labels = np.empty(len(source), np.int32)
    for i, record in enumerate(source):
        image = images.decode(record["image"], info.channels)
        same = image.shape[:2] == (image_size, image_size)
        pixels[i] = image if same else images.resize(image, image_size)
        labels[i] = record["label"]
    pixels.flags.writeable = labels.flags.writeable = False
    return pixels, labels


def mean_image(
    name: str, *, split: str, image_size: int, data_dir: str | os.PathLike | None = None
) -> np.ndarray:
    """The mean of every pixel over a split, in pixel values 0 .. 255; float32 [S, S, C].

    Raises:
      ValueError, FileNotFoundError: as `num_examples`; or the images of the set differ in size.
    """
    if catalog.info(name).image_size is None:
        raise ValueError(f"the images of {name!r} differ in size and have no mean image; "
                         "use the means of the channels")
    builder = open_builder(name, data_dir)
    pixels, _ = read_all(
        name, str(builder.data_path), resolve_split(builder, split), image_size)
    return pixels.mean(axis=0, dtype=np.float64).astype(np.float32)
