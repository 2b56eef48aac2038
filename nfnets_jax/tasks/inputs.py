"""The batches that a checked config asks for."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from nfnets_jax import data
from nfnets_jax.config import ConfigError

Batches = Iterator[dict[str, Any]]

# Of the images that an analysis holds at once.
LARGEST_BYTES = 2**31


def cropped_batches(
    config: Mapping[str, Any], process_index: int, process_count: int, num_views: int = 1
) -> Callable[[int], Batches]:
    """`start_step -> training batches` for tasks that crop at random, on the host or later.

    With `augmentation.crop_on` 'host' images come cropped to `dataset.image_size`, each `num_views`
    times; otherwise whole, once, for `data.make_view` to crop on the device.
    """
    dataset, augmentation = config["dataset"], config["augmentation"]
    size, crop = data.info(dataset["name"]).image_size, {}
    if augmentation["crop_on"] == "host":
        size = dataset["image_size"]
        crop = dict(random_resized_crop=True, num_views=num_views, crop_law="area",
                    crop_min_area=augmentation["crop_min_area"])

    def batches(start_step: int) -> Batches:
        return data.train_batches(
            dataset["name"], split=dataset["train_split"], batch_size=config["batch_size"],
            seed=config["seed"], start_step=start_step, image_size=size, **crop,
            **_loading(dataset, process_index, process_count))

    return batches


def evaluation_batches(
    config: Mapping[str, Any], process_index: int, process_count: int
) -> Callable[[str], Batches]:
    """`split -> batches` of one pass, padded and masked."""
    dataset = config["dataset"]

    def batches(split: str) -> Batches:
        return data.eval_batches(
            dataset["name"], split=split, batch_size=config["evaluation_batch_size"],
            image_size=dataset["evaluation_image_size"], crop=dataset["evaluation_crop"],
            **_loading(dataset, process_index, process_count))

    return batches


def training_examples(config: Mapping[str, Any]) -> Callable[[int | None], dict[str, np.ndarray]]:
    """`count -> batch` of the first images of the training split, without augmentation.

    Without a count it is the whole split; a ConfigError if that is too large to be held at once.
    """
    dataset = config["dataset"]

    def examples(count: int | None) -> dict[str, np.ndarray]:
        size = dataset["image_size"]
        total = data.num_examples(
            dataset["name"], split=dataset["train_split"], data_dir=dataset["data_dir"])
        if count is None and total * size**2 * data.info(dataset["name"]).channels > LARGEST_BYTES:
            raise ConfigError(
                f"analysis.num_examples=None: the {total} images of {dataset['train_split']} are "
                f"more than {LARGEST_BYTES >> 30} GiB; set how many of them are to be analysed")
        count = min(count or total, total)
        batch = next(data.eval_batches(
            dataset["name"], split=dataset["train_split"], batch_size=count, image_size=size,
            crop=dataset["evaluation_crop"], **_loading(dataset, 0, 1)))
        return {key: value for key, value in batch.items() if key != "mask"}

    return examples


def splits(dataset: Mapping[str, Any]) -> dict[str, str]:
    """What a sweep calls the splits of a checked config that it evaluates: role -> split."""
    named = {"train": dataset["train_split"], "valid": dataset.get("validation_split"),
             "test": dataset["evaluation_split"]}
    return {role: split for role, split in named.items() if split}


def _loading(dataset: Mapping[str, Any], process_index: int, process_count: int) -> dict[str, Any]:
    return dict(data_dir=dataset["data_dir"], process_index=process_index,
                process_count=process_count, num_threads=dataset["loader_threads"])
