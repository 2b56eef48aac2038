"""What is optimised or simulated. A task is three pure functions; see `tasks.task.Task`.

A module of this package that is listed in `names()` offers

    FIELDS                                  the fields of its config, beside the loop's
    HYPER                                   its traced scalars, and the field that holds each
    check(config, device_count) -> config   the checks that need more than one field
    create(config, process_index, process_count) -> Experiment
    read_hyper(config) -> dict              the traced scalars of a checked config

The members of a population share everything but the fields of `HYPER` and the seed.
"""

import importlib
from types import ModuleType

from nfnets_jax.tasks.task import Experiment, Task

__all__ = ["Experiment", "Task", "create", "get", "names"]


def names() -> list[str]:
    """The tasks that a config can name."""
    return ["classification", "byol", "linear_evaluation", "language_modeling", "autoencoding",
            "noisy_quadratic", "diagonal_linear", "linear_model", "quantized_walk",
            "teacher_student", "norm_change", "exploration_rates", "tipping_points",
            "citation_growth"]


def get(name: str) -> ModuleType:
    """The module of a task; imported when asked for."""
    if name not in names():
        raise ValueError(f"unknown task {name!r}; allowed: {', '.join(names())}")
    return importlib.import_module(f"nfnets_jax.tasks.{name}")


def create(config: dict, process_index: int = 0, process_count: int = 1) -> Experiment:
    """Builds the experiment of a checked config (`config.check_config`)."""
    return get(config["task"]).create(config, process_index, process_count)
