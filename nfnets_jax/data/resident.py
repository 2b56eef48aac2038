"""A training split that stays on the devices, so that many steps need nothing from the host."""

import os
from typing import Any

import numpy as np

from nfnets_jax.data import catalog, reading
from nfnets_jax.data.loading import example_ids
from nfnets_jax.tasks.task import Resident

# Larger splits are fed from the host.
LARGEST_BYTES = 2**31


def resident_split(
    name: str,
    *,
    split: str,
    image_size: int,
    batch_size: int,
    data_dir: str | os.PathLike | None = None,
) -> Resident | None:
    """The batches of `loading.train_batches` as gathers from arrays on the device.

    Args: as for `loading.train_batches`.

    Returns:
      None where the images differ in size, or are more than `LARGEST_BYTES`.
    """
    info = catalog.info(name)
    if info.image_size is None:
        return None
    builder = reading.open_builder(name, data_dir)
    spec = reading.resolve_split(builder, split)
    count = builder.info.splits[spec].num_examples
    if count * image_size**2 * info.channels > LARGEST_BYTES:
        return None
    images, labels = reading.read_all(name, str(builder.data_path), spec, image_size)

    def draw(seed: int, start: int, stop: int) -> dict[str, np.ndarray]:
        positions = np.arange(start * batch_size, stop * batch_size)
        ids = example_ids(count, seed, start * batch_size, stop * batch_size)
        return {"id": ids.astype(np.int32).reshape(-1, batch_size),
                "index": positions.astype(np.uint32).reshape(-1, batch_size)}

    return Resident({"image": images, "label": labels}, draw, gather)


def gather(arrays: dict[str, Any], drawn: dict[str, Any]) -> dict[str, Any]:
    """The examples `drawn['id']` [B] of `arrays`, with `drawn['index']`; see `Resident.batch`."""
    batch = {name: values[drawn["id"]] for name, values in arrays.items()}
    return batch | {"index": drawn["index"]}
