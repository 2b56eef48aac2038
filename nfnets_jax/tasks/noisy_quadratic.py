"""The noisy quadratic model: heavy ball on a quadratic, with the noise of minibatches.

    loss      1/2 sum_i h_i E[theta_i^2],  h_i = i^-p,  i = 1 ... d
    gradient  h_i theta_i + N(0, c_i / B),  c_i = i^-q

In the mode 'expected' the state is the exact second moment of (theta_i, v_i), so that one run gives
the mean over all seeds; in the mode 'sampled' it is one sample. The model is that of Zhang et al.
2019 (arXiv 1907.04164); here it shows the regimes of noise and of curvature that arXiv 2006.15081
describes, without a network. `analysis.sgd_noise` has its closed forms.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nfnets_jax.analysis import sgd_noise
from nfnets_jax.config import ConfigError, Fields, integer, number, text
from nfnets_jax.tasks import simulations
from nfnets_jax.tasks import task as task_lib
from nfnets_jax.tasks.task import Experiment, Hyper, Metrics, Task

FIELDS: Fields = {
    "mode": text("expected", ("expected", "sampled")),
    "num_dimensions": integer(100, 1, 2**24),
    "curvature_exponent": number(1.0, 0, 100),
    "noise_exponent": number(1.0, 0, 100),
    "start": number(1.0, 0, open_below=True),
    "batch_size": integer(32, 1),
    "examples_per_epoch": integer(1024, 1),
    "num_epochs": number(None, 0, 1e6, open_below=True),
    "num_steps": integer(None, 1),
    "optimizer": {
        "learning_rate": number(1.0, 0),
        "momentum": number(0.0, 0, 1, open_above=True),
    },
    "schedule": simulations.schedule_fields("halving", 0.0),
}

HYPER = {"learning_rate": "optimizer.learning_rate", "momentum": "optimizer.momentum"}


class State(NamedTuple):
    """All that a step changes, and the scalars that a sweep may vary.

    Attributes:
      step: int32 scalar, how many updates have been made.
      moments: float32, E[x x'] [d, 2, 2] of x = (theta, v), or a sample of x [d, 2].
      hyper: learning_rate (the peak), momentum.
    """

    step: jax.Array
    moments: jax.Array
    hyper: Hyper


def create_task(
    *,
    curvature: np.ndarray,
    noise_variance: np.ndarray,
    start: float,
    schedule: optax.Schedule,
    mode: str = "expected",
) -> Task:
    """The three functions of the noisy quadratic; the batch is ().

    Args:
      curvature: h [d].
      noise_variance: of a step's gradient, c / B [d].
      start: theta_i of step 0, where v_i = 0.
      schedule: step to a factor of `hyper['learning_rate']`.
      mode: 'expected' or 'sampled'.
    """
    h, noise = (jnp.asarray(x, jnp.float32) for x in (curvature, noise_variance))

    def init(key: jax.Array, hyper: Hyper) -> State:
        del key
        x = jnp.tile(jnp.array([start, 0.0], jnp.float32), (len(h), 1))
        moments = x if mode == "sampled" else x[:, :, None] * x[:, None, :]
        return State(jnp.zeros((), jnp.int32), moments, hyper)

    def loss(state: State) -> jax.Array:
        squares = state.moments[:, 0] ** 2 if mode == "sampled" else state.moments[:, 0, 0]
        return 0.5 * jnp.sum(h * squares)

    def step(state: State, batch: tuple, key: jax.Array) -> tuple[State, Metrics]:
        del batch
        learning_rate = state.hyper["learning_rate"] * schedule(state.step)
        a, b = sgd_noise.heavy_ball(h, learning_rate, state.hyper["momentum"])
        # In full float32, which is not the default of every device.
        highest = jax.lax.Precision.HIGHEST
        if mode == "sampled":
            kicks = jnp.sqrt(noise) * jax.random.normal(key, h.shape)
            moments = jnp.einsum("ijk,ik->ij", a, state.moments, precision=highest)
            moments += kicks[:, None] * b
        else:
            moments = jnp.einsum("ijk,ikl,iml->ijm", a, state.moments, a, precision=highest)
            moments += noise[:, None, None] * b[:, :, None] * b[:, None, :]
        metrics = {"loss": loss(state), "learning_rate": learning_rate}
        return State(state.step + 1, moments, state.hyper), metrics

    def evaluate(state: State, batch: tuple) -> Metrics:
        del batch
        return {"loss": loss(state), "count": jnp.ones(())}

    return Task(init, step, evaluate)


def read_hyper(config: Mapping[str, Any]) -> dict[str, float]:
    """The traced scalars of a checked config."""
    return task_lib.read_hyper(config, HYPER)


def check(config: dict[str, Any], device_count: int) -> dict[str, Any]:
    """Leaves one of num_epochs and num_steps, the former 8 by default, and checks the schedule.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    del device_count
    if config["num_steps"] is not None:
        config["num_epochs"] = None
    elif config["num_epochs"] is None:
        config["num_epochs"] = 8.0
    simulations.create_schedule(config, count_steps(config))
    return config


def count_steps(config: Mapping[str, Any]) -> int:
    """The number of steps: num_steps, or E N / B for num_epochs, rounded to the nearest.

    Raises:
      ConfigError: if there would be none.
    """
    if config["num_steps"] is not None:
        return config["num_steps"]
    steps_per_epoch = config["examples_per_epoch"] / config["batch_size"]
    total_steps = round(config["num_epochs"] * steps_per_epoch)
    if total_steps < 1:
        raise ConfigError(
            f"num_epochs={config['num_epochs']:g}: less than one step of batch_size="
            f"{config['batch_size']} on {config['examples_per_epoch']} examples; use at least "
            f"{1 / steps_per_epoch:g}")
    return total_steps


def create(config: dict[str, Any], process_index: int = 0, process_count: int = 1) -> Experiment:
    """Builds the experiment of a checked config."""
    del process_index, process_count
    total_steps = count_steps(config)
    number_of_dimension = np.arange(1, config["num_dimensions"] + 1, dtype=np.float64)
    noise_variance = number_of_dimension ** -config["noise_exponent"]
    return Experiment(
        task=create_task(
            curvature=number_of_dimension ** -config["curvature_exponent"],
            noise_variance=noise_variance / config["batch_size"],
            start=config["start"],
            schedule=simulations.create_schedule(config, total_steps),
            mode=config["mode"],
        ),
        hyper=read_hyper(config),
        total_steps=total_steps,
        examples_per_step=0,
        train_batches=simulations.train_batches,
        evaluation_batches=simulations.evaluation_batches,
        evaluation_split=simulations.SPLIT,
        best_metric="loss",
        figures={},
        best_is_smallest=True,
        exact_step_loss=True,
    )
