"""How long a run is, in steps, and its learning-rate schedule."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import optax

from nfnets_jax import data, optim
from nfnets_jax.config import ConfigError
from nfnets_jax.tasks import checks


def count_steps(config: Mapping[str, Any]) -> int:
    """The number of steps of a checked config; looks into the data set.

    Of num_steps, num_examples and num_epochs one is set. In batches of B, n examples are
    floor(n / B) steps. E epochs of N examples are E N / B steps, rounded by `step_rounding`: to the
    'nearest' whole number, floor(E N / B) with 'total', floor(E floor(N / B)) with 'per_epoch'.
    Batches cross the border between epochs, so that no example is left out whichever it is; only
    the end of the run moves.

    Raises:
      ConfigError: if the run would have no step, or a split does not exist.
      FileNotFoundError: if the data set is not on this machine; says how to get it.
    """
    dataset, batch_size = config["dataset"], config["batch_size"]
    num_examples = _count(dataset, "train_split")
    _count(dataset, "evaluation_split")
    if dataset["validation_split"] is not None:
        _count(dataset, "validation_split")
    if config["num_steps"] is not None:
        return config["num_steps"]
    if config["num_examples"] is not None:
        if config["num_examples"] < batch_size:
            raise ConfigError(f"num_examples={config['num_examples']}: less than one step of "
                              f"batch_size={batch_size}; use at least {batch_size}")
        return config["num_examples"] // batch_size
    rounding = config["step_rounding"]
    steps_per_epoch = Fraction(num_examples, batch_size)
    if rounding == "per_epoch":
        steps_per_epoch = math.floor(steps_per_epoch)
        if not steps_per_epoch:
            raise ConfigError(
                f"step_rounding='per_epoch': no step, as batch_size={batch_size} is more than the "
                f"{num_examples} images of an epoch; use total or nearest")
    # The decimal that was written, not the binary fraction next to it: 0.3 of 10 steps are 3.
    steps = Fraction(repr(config["num_epochs"])) * steps_per_epoch
    total_steps = round(steps) if rounding == "nearest" else math.floor(steps)
    if total_steps < 1:
        raise ConfigError(
            f"num_epochs={config['num_epochs']:g}: less than one step of batch_size="
            f"{batch_size} on {num_examples} images; use at least "
            f"{math.ceil(100 / steps_per_epoch) / 100:g}")
    return total_steps


def create_schedule(config: Mapping[str, Any], total_steps: int) -> optax.Schedule:
    """The schedule of a checked config, as a factor of its learning rate.

    Raises:
      ConfigError: if the warm-up takes the whole run.
    """
    schedule = config["schedule"]
    steps_per_epoch = _count(config["dataset"], "train_split") / config["batch_size"]
    warmup_steps = round(schedule["warmup_epochs"] * steps_per_epoch)
    if warmup_steps >= total_steps:
        raise ConfigError(
            f"schedule.warmup_epochs={schedule['warmup_epochs']:g}: are {warmup_steps} steps of a "
            f"run of {total_steps}; use less than {total_steps / steps_per_epoch:.3g}")
    return optim.create_schedule(total_steps=total_steps, warmup_steps=warmup_steps,
                                 **checks.schedule_arguments(schedule))


def _count(dataset: Mapping[str, Any], field: str) -> int:
    try:
        return data.num_examples(dataset["name"], split=dataset[field],
                                 data_dir=dataset["data_dir"])
    except ValueError as error:
        raise ConfigError(f"dataset.{field}={dataset[field]!r}: {error}") from None
