"""What tasks without a data set have in common: their length, their schedule, and empty batches."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import optax

from nfnets_jax import optim
from nfnets_jax.config import ConfigError, Fields, integer, number, text
from nfnets_jax.tasks import checks

# The one thing that can be evaluated.
SPLIT = "problem"


def schedule_fields(name: str, final_fraction: float) -> Fields:
    """The schedule of a simulation, whose warm-up is in steps."""
    return {
        "name": text(name, tuple(optim.SCHEDULES)),
        "warmup_steps": integer(0, 0),
        "final_fraction": number(final_fraction, 0, 1),
        **{field: checks.SCHEDULE_FIELDS[field] for field in (
            "first_drop", "drops", "drop_factor")},
    }


def create_schedule(config: Mapping[str, Any], total_steps: int) -> optax.Schedule:
    """The schedule of a config, as a factor of its learning rate.

    Raises:
      ConfigError: if the schedule does not allow these values.
    """
    schedule = config["schedule"]
    if schedule["warmup_steps"] >= total_steps:
        raise ConfigError(
            f"schedule.warmup_steps={schedule['warmup_steps']}: must be less than the "
            f"{total_steps} steps of the run")
    try:
        return optim.create_schedule(total_steps=total_steps, **schedule)
    except ValueError as error:
        raise ConfigError(f"schedule.{error}") from None


def train_batches(start_step: int) -> Iterator[tuple[()]]:
    """`()` for ever."""
    del start_step
    return itertools.repeat(())


def evaluation_batches(split: str) -> Iterator[tuple[()]]:
    """One `()`.

    Raises:
      ValueError: for any split but `SPLIT`.
    """
    if split != SPLIT:
        raise ValueError(f"a simulation has no data set; the only split is {SPLIT!r}")
    return iter([()])
