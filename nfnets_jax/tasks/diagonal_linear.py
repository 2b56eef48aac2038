"""Sparse regression with a diagonal linear network, whose noise chooses the solution.

    data      x [n, d] ~ N(0, 1), targets x truth; k entries of truth are +-1, the others 0
    network   beta = u * u - v * v
    loss      sum over a batch of residual^2 / (4 B)

There are more parameters than examples, so that many beta fit them all; which one is found depends
on the start, the learning rate and the noise. The network is that of Woodworth et al. 2020 (arXiv
2002.09277, recalled). At the same number of steps small batches end nearer to the truth, which
arXiv 2006.15081 claims for large networks. Each seed has a problem of its own. The set-up is our
choice.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nfnets_jax.config import ConfigError, Fields, integer, number
from nfnets_jax.tasks import simulations
from nfnets_jax.tasks import task as task_lib
from nfnets_jax.tasks.task import Experiment, Hyper, Metrics, Task

FIELDS: Fields = {
    "num_examples": integer(40, 1, 2**20),
    "num_dimensions": integer(100, 1, 2**20),
    "num_nonzero": integer(5, 1, 2**20),
    "start": number(0.1, 0, open_below=True),
    "batch_size": integer(1, 1),
    "num_steps": integer(5000, 1),
    "optimizer": {
        "learning_rate": number(0.0625, 0),
        "momentum": number(0.0, 0, 1, open_above=True),
    },
    "schedule": simulations.schedule_fields("constant", 1.0),
}

HYPER = {"learning_rate": "optimizer.learning_rate", "momentum": "optimizer.momentum",
         "start": "start"}


class Problem(NamedTuple):
    """What a seed draws.

    Attributes:
      x: float32 [n, d].
      targets: float32 [n].
      truth: float32 [d].
    """

    x: jax.Array
    targets: jax.Array
    truth: jax.Array


class State(NamedTuple):
    """All that a step changes, the problem, and the scalars that a sweep may vary.

    Attributes:
      step: int32 scalar, how many updates have been made.
      params: u and v, float32 [d].
      opt_state: of the optax optimizer.
      problem: never changes.
      hyper: learning_rate (the peak), momentum, start (of u and v).
    """

    step: jax.Array
    params: dict[str, jax.Array]
    opt_state: optax.OptState
    problem: Problem
    hyper: Hyper


def draw_problem(
    key: jax.Array, num_examples: int, num_dimensions: int, num_nonzero: int
) -> Problem:
    """Draws inputs and a truth with `num_nonzero` entries of +-1 at random places."""
    key_x, key_places, key_signs = jax.random.split(key, 3)
    x = jax.random.normal(key_x, (num_examples, num_dimensions))
    places = draw_ids(key_places, num_dimensions, num_nonzero)
    signs = jax.random.rademacher(key_signs, (num_nonzero,), jnp.float32)
    truth = jnp.zeros(num_dimensions).at[places].set(signs)
    return Problem(x, _product(x, truth), truth)


def draw_ids(key: jax.Array, count: int, num_drawn: int) -> jax.Array:
    """Draws from 0 ... count - 1 without replacement: int32 [num_drawn]."""
    _, ids = jax.lax.top_k(jax.random.uniform(key, (count,)), num_drawn)
    return ids


def beta(params: dict[str, jax.Array]) -> jax.Array:
    """The coefficients [d] that the network computes."""
    return params["u"] * params["u"] - params["v"] * params["v"]


def loss_fn(params: dict[str, jax.Array], x: jax.Array, targets: jax.Array) -> jax.Array:
    """A quarter of the mean squared residual, so that du = u * (x' residual) / B."""
    return jnp.mean(jnp.square(_product(x, beta(params)) - targets)) / 4.0


def create_task(
    *,
    num_examples: int,
    num_dimensions: int,
    num_nonzero: int,
    batch_size: int,
    schedule: optax.Schedule,
) -> Task:
    """The three functions of the diagonal linear network; the batch is ().

    Args:
      num_examples: n.
      num_dimensions: d.
      num_nonzero: entries of the truth that are not 0.
      batch_size: examples that each step draws, without replacement; n for the full batch.
      schedule: step to a factor of `hyper['learning_rate']`.
    """

    def optimizer(hyper: Hyper, step: jax.Array) -> optax.GradientTransformation:
        return optax.sgd(hyper["learning_rate"] * schedule(step), momentum=hyper["momentum"])

    def init(key: jax.Array, hyper: Hyper) -> State:
        start = jnp.zeros((), jnp.int32)
        params = {name: jnp.full(num_dimensions, hyper["start"], jnp.float32) for name in "uv"}
        return State(start, params, optimizer(hyper, start).init(params),
                     draw_problem(key, num_examples, num_dimensions, num_nonzero), hyper)

    def step(state: State, batch: tuple, key: jax.Array) -> tuple[State, Metrics]:
        del batch
        ids = draw_ids(key, num_examples, batch_size)
        loss, grads = jax.value_and_grad(loss_fn)(
            state.params, state.problem.x[ids], state.problem.targets[ids])
        updates, opt_state = optimizer(state.hyper, state.step).update(grads, state.opt_state)
        metrics = {"loss": loss,
                   "learning_rate": state.hyper["learning_rate"] * schedule(state.step)}
        params = optax.apply_updates(state.params, updates)
        return state._replace(step=state.step + 1, params=params, opt_state=opt_state), metrics

    def evaluate(state: State, batch: tuple) -> Metrics:
        """The loss on all n examples, and |beta - truth|^2."""
        del batch
        problem = state.problem
        return {"loss": loss_fn(state.params, problem.x, problem.targets),
                "test_error": jnp.sum(jnp.square(beta(state.params) - problem.truth)),
                "count": jnp.ones(())}

    return Task(init, step, evaluate)


def read_hyper(config: Mapping[str, Any]) -> dict[str, float]:
    """The traced scalars of a checked config."""
    return task_lib.read_hyper(config, HYPER)


def check(config: dict[str, Any], device_count: int) -> dict[str, Any]:
    """Checks that the fields fit together.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    del device_count
    for field, largest in (("batch_size", "num_examples"), ("num_nonzero", "num_dimensions")):
        if config[field] > config[largest]:
            raise ConfigError(f"{field}={config[field]}: must be at most {largest}="
                              f"{config[largest]}")
    simulations.create_schedule(config, config["num_steps"])
    return config


def create(config: dict[str, Any], process_index: int = 0, process_count: int = 1) -> Experiment:
    """Builds the experiment of a checked config."""
    del process_index, process_count
    return Experiment(
        task=create_task(
            **{name: config[name] for name in
               ("num_examples", "num_dimensions", "num_nonzero", "batch_size")},
            schedule=simulations.create_schedule(config, config["num_steps"]),
        ),
        hyper=read_hyper(config),
        total_steps=config["num_steps"],
        examples_per_step=0,
        train_batches=simulations.train_batches,
        evaluation_batches=simulations.evaluation_batches,
        evaluation_split=simulations.SPLIT,
        best_metric="test_error",
        figures={},
        best_is_smallest=True,
    )


def _product(x: jax.Array, vector: jax.Array) -> jax.Array:
    # In full float32, which is not the default of every device: residuals become very small.
    return jnp.matmul(x, vector, precision=jax.lax.Precision.HIGHEST)
