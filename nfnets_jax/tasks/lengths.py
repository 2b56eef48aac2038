"""How long a run is, in steps, and its learning-rate schedule."""

import math
from collections.abc import Mapping
from typing import Any

import optax

from nfnets_jax import data, optim
from nfnets_jax.config import ConfigError


def count_steps(config: Mapping[str, Any]) -> int:
    """The number of steps of a checked config; looks into the data set.

    Raises:
      ConfigError: if the run would have no step, or a split does not exist.
      FileNotFoundError: if the data set is not on this machine; says how to get it.
    """
    num_examples, _ = (_count(config["dataset"], field)
                       for field in ("train_split", "evaluation_split"))
    steps_per_epoch = num_examples / config["batch_size"]
    total_steps = round(config["num_epochs"] * steps_per_epoch)
    if total_steps < 1:
        raise ConfigError(
            f"num_epochs={config['num_epochs']:g}: less than one step of batch_size="
            f"{config['batch_size']} on {num_examples} images; use at least "
            f"{math.ceil(100 / steps_per_epoch) / 100:g}")
    return total_steps


def create_schedule(config: Mapping[str, Any], total_steps: int) -> optax.Schedule:
    """The schedule of a checked config, as a factor of its learning rate."""
    schedule = config["schedule"]
    warmup_steps = round(total_steps * schedule["warmup_epochs"] / config["num_epochs"])
    return optim.create_schedule(
        schedule["name"],
        total_steps=total_steps,
        warmup_steps=min(total_steps - 1, warmup_steps),
        final_fraction=schedule["final_fraction"],
    )


def _count(dataset: Mapping[str, Any], field: str) -> int:
    try:
        return data.num_examples(dataset["name"], split=dataset[field],
                                 data_dir=dataset["data_dir"])
    except ValueError as error:
        raise ConfigError(f"dataset.{field}={dataset[field]!r}: {error}") from None
