"""Batches for training and evaluation, as functions of (seed, step).

Grain reads ahead and gives random access to batches; the order of the examples is a permutation
for each epoch, drawn whole, because Grain's own shuffle costs 20 microseconds per example, which
is more than a training step on small images.
"""

import functools
import os
from collections.abc import Callable, Iterator
from concurrent import futures

import grain
import numpy as np

from nfnets_jax.data import catalog, images, reading

Batch = dict[str, np.ndarray]
# (ids of the examples, their positions in the stream) -> uint8 [N, S, S, C], int32 [N]
_Fetch = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

CROP_LAWS = ("distorted", "area")

# No run has this many steps; Grain wants a length, and it must fit a C integer.
_FOREVER = 2**40


def train_batches(
    name: str,
    *,
    split: str,
    image_size: int,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    data_dir: str | os.PathLike | None = None,
    process_index: int = 0,
    process_count: int = 1,
    random_resized_crop: bool = False,
    num_views: int = 1,
    crop_law: str = "distorted",
    crop_min_area: float = 0.08,
    num_threads: int = 16,
) -> Iterator[Batch]:
    """This process's share of an endless stream of shuffled batches.

    Every epoch holds every example once, in an order of its own; batches cross the border between
    epochs. Batch k is a function of (seed, k) alone: a stream from `start_step=k` continues an
    interrupted one exactly and at once, and however many processes share the stream, their
    batches k put together in the order of the processes are the same global batch.

    Args:
      name: a name of `catalog.names()`.
      split: a name of its `splits` or a TFDS expression such as 'train[:45000]'.
      image_size: side of the images, S. Sets in memory are resized as a whole; ImageNet is
        cropped as for evaluation unless `random_resized_crop`.
      batch_size: of the global batch, a multiple of `process_count`.
      seed: of the order and the crops, >= 0.
      start_step: the first batch to yield.
      data_dir: where the prepared sets are; see `reading.resolve_data_dir`.
      process_index, process_count: this process and their number, as jax.process_index() and
        jax.process_count() say.
      random_resized_crop: crop each image at random.
      num_views: number of such crops of each image; above 1 'image' is uint8 [n, views, S, S, C].
      crop_law: 'distorted', see `images.random_crop`, or 'area', see `images.area_crop`.
      crop_min_area: of 'area', as a share of the image.
      num_threads: threads that decode and resize images.

    Yields:
      Dicts of n = batch_size / process_count examples: 'image' uint8 [n, S, S, C],
      'label' int32 [n], 'index' uint32 [n], the position in the stream (modulo 2**32), which is
      step * batch_size + place in the global batch.

    Raises:
      ValueError: a wrong argument, see the message.
      FileNotFoundError: the set is not in `data_dir`.
    """
    local_size = size_per_process(batch_size, process_index, process_count)
    check_at_least("image_size", image_size, at_least=1)
    check_at_least("seed", seed, at_least=0)
    check_at_least("start_step", start_step, at_least=0)
    check_at_least("num_threads", num_threads, at_least=1)
    if num_views > 1 and not random_resized_crop:
        raise ValueError(f"num_views={num_views} needs random_resized_crop=True: without crops all "
                         "views are the same")
    if crop_law not in CROP_LAWS:
        raise ValueError(f"crop_law={crop_law!r} is unknown; allowed: {', '.join(CROP_LAWS)}")

    def draw_crops(shape: tuple[int, int], position: int) -> list[images.Crop]:
        rng = np.random.default_rng([seed, position, 1])
        if crop_law == "area":
            return [images.area_crop(rng, *shape, crop_min_area) for _ in range(num_views)]
        return [images.random_crop(rng, *shape, image_size) for _ in range(num_views)]

    count, fetch, read_options = _open(
        name, split, image_size, data_dir, draw_crops if random_resized_crop else None,
        num_threads, num_views=num_views)

    def batch(step: int) -> Batch:
        start = step * batch_size + process_index * local_size
        positions = np.arange(start, start + local_size)
        image, label = fetch(example_ids(count, seed, start, start + local_size), positions)
        return {"image": image, "label": label, "index": positions.astype(np.uint32)}

    return _iterate(batch, start_step, _FOREVER, read_options)


def example_ids(count: int, seed: int, start: int, stop: int) -> np.ndarray:
    """Which examples stand at the positions start, ..., stop - 1 of the shuffled stream.

    Args:
      count: of the examples; each epoch of the stream is a permutation of them of its own.
      seed: of the order, >= 0.
      start, stop: positions, start < stop.

    Returns:
      int64 [stop - start], each below `count`.
    """
    first, last = start // count, (stop - 1) // count
    epochs = [_permutation(count, seed, epoch) for epoch in range(first, last + 1)]
    return np.concatenate(epochs)[start - first * count : stop - first * count]


@functools.lru_cache(maxsize=64)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


def eval_batches(
    name: str,
    *,
    split: str,
    image_size: int,
    batch_size: int,
    data_dir: str | os.PathLike | None = None,
    process_index: int = 0,
    process_count: int = 1,
    crop: str = "crop_resize",
    num_threads: int = 16,
) -> Iterator[Batch]:
    """This process's share of one pass over a split, in the order on disk, without augmentation.

    Every process yields the same number of batches, all of full size: what the last global batch
    lacks is filled with zeros under a mask of zeros.

    Args: as for `train_batches`, and
      crop: of images of many sizes; a name of `images.EVALUATION_CROPS`, see
        `images.load_for_evaluation`.

    Yields:
      As `train_batches`, where 'index' is the place of the example in the split, and 'mask'
      float32 [n], 1 for an example and 0 for filling.

    Raises: as `train_batches`.
    """
    local_size = size_per_process(batch_size, process_index, process_count)
    check_at_least("image_size", image_size, at_least=1)
    check_at_least("num_threads", num_threads, at_least=1)
    if crop not in images.EVALUATION_CROPS:
        raise ValueError(f"crop={crop!r} must be one of {', '.join(images.EVALUATION_CROPS)}")
    count, fetch, read_options = _open(
        name, split, image_size, data_dir, None, num_threads, evaluation_crop=crop)
    channels = catalog.info(name).channels

    def batch(step: int) -> Batch:
        start = step * batch_size + process_index * local_size
        positions = np.arange(start, start + local_size)
        real = positions < count
        image = np.zeros((local_size, image_size, image_size, channels), np.uint8)
        label = np.zeros(local_size, np.int32)
        if real.any():
            image[real], label[real] = fetch(positions[real], positions[real])
        return {
            "image": image,
            "label": label,
            "index": positions.astype(np.uint32),
            "mask": real.astype(np.float32),
        }

    return _iterate(batch, 0, -(-count // batch_size), read_options)


def _iterate(
    batch: Callable[[int], Batch], start: int, stop: int, read_options: grain.ReadOptions
) -> Iterator[Batch]:
    return iter(grain.MapDataset.range(start, stop).map(batch).to_iter_dataset(read_options))


def _open(
    name: str,
    split: str,
    image_size: int,
    data_dir: str | os.PathLike | None,
    draw_crops: Callable[[tuple[int, int], int], list[images.Crop]] | None,
    num_threads: int,
    *,
    evaluation_crop: str = "crop_resize",
    num_views: int = 1,
) -> tuple[int, _Fetch, grain.ReadOptions]:
    """The number of examples of a split, how to fetch some, and how far Grain reads ahead."""
    info = catalog.info(name)
    builder = reading.open_builder(name, data_dir)
    spec = reading.resolve_split(builder, split)
    if info.image_size is not None and draw_crops is None:
        pixels, labels = reading.read_all(name, str(builder.data_path), spec, image_size)
        # A gather of ready images is cheaper than handing it to a thread.
        options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        return len(labels), lambda ids, _: (pixels[ids], labels[ids]), options

    def load(data, position: int) -> np.ndarray:
        if draw_crops is None:
            return images.load_for_evaluation(data, image_size, info.channels, evaluation_crop)
        crops = draw_crops(images.shape_of(data), position)
        loaded = images.load_crops(data, image_size, info.channels, crops)
        return loaded if num_views > 1 else loaded[0]

    pool = futures.ThreadPoolExecutor(num_threads, thread_name_prefix="decode")

    def load_all(data, ids: np.ndarray, positions: np.ndarray) -> np.ndarray:
        views = (num_views,) if num_views > 1 else ()
        out = np.empty((len(data), *views, image_size, image_size, info.channels), np.uint8)

        def load_share(first: int) -> None:
            for i in range(first, len(data), num_threads):
                try:
                    out[i] = load(data[i], int(positions[i]))
                except ValueError as error:
                    error.add_note(f"while decoding example {ids[i]} of {name!r} ({spec})")
                    raise

        list(pool.map(load_share, range(min(num_threads, len(data)))))
        return out

    # Two batches at a time, so that one is read while the other is decoded.
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
    if info.image_size is not None:
        pixels, labels = reading.read_all(name, str(builder.data_path), spec, info.image_size)
        return len(labels), lambda ids, at: (load_all(pixels[ids], ids, at), labels[ids]), options
    source = reading.open_split(builder, spec)

    def fetch(ids: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        records = source.__getitems__(ids.tolist())
        label = np.array([record["label"] for record in records], np.int32)
        return load_all([record["image"] for record in records], ids, positions), label

    return len(source), fetch, options


def size_per_process(batch_size: int, process_index: int, process_count: int) -> int:
    """The examples of each process in a global batch; refuses sizes that do not divide."""
    check_at_least("batch_size", batch_size, at_least=1)
    check_at_least("process_count", process_count, at_least=1)
    if not 0 <= process_index < process_count:
        raise ValueError(
            f"process_index={process_index} is not one of the process_count={process_count} "
            f"processes; use 0 .. {process_count - 1}"
        )
    if batch_size % process_count:
        near = batch_size // process_count * process_count
        choices = [str(size) for size in (near, near + process_count) if size > 0]
        raise ValueError(
            f"batch_size={batch_size} is not divisible by the {process_count} processes; "
            f"use {' or '.join(choices)}"
        )
    return batch_size // process_count


def check_at_least(field: str, value: int, *, at_least: int) -> None:
    """Refuses a value that is no whole number, or below `at_least`; names the field."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < at_least:
        raise ValueError(f"{field}={value!r} must be a whole number of at least {at_least}")
