"""Linear models, whose gradients are their inputs: where the theory of SGD has its constants.

    inputs    x [n, d]: 'gaussian', N(0, 1); 'sphere', uniform on the unit sphere; or 'orthonormal'
    labels    y [n] ~ N(0, 1) for the squared loss (x_i' w - y_i)^2 / 2,
              signs for the logistic loss log(1 + exp(-y_i x_i' w)); independent of x
    start     w = 0

SGD draws its batch from the examples, uniformly and independently. The toy problem of gradient
confusion (arXiv 1904.06963, figure 1) has 100 Gaussian inputs of 120 or 80 dimensions and batch 1;
its labels are our choice. `analysis.confusion_theory` has the constants and the bounds. Each seed
has a problem of its own.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax.config import ConfigError, Fields, integer, number, text
from nfnets_jax.tasks import simulations
from nfnets_jax.tasks import task as task_lib
from nfnets_jax.tasks.task import Experiment, Hyper, Metrics, Objective, Task

INPUTS = ("gaussian", "sphere", "orthonormal")
LOSSES = ("squared", "logistic")

FIELDS: Fields = {
    "num_examples": integer(100, 1, 2**20),
    "num_dimensions": integer(120, 1, 2**20),
    "inputs": text("gaussian", INPUTS),
    "loss": text("squared", LOSSES),
    "batch_size": integer(1, 1, 2**20),
    "num_steps": integer(40_000, 1),
    "optimizer": {"learning_rate": number(2e-3, 0)},
    "schedule": simulations.schedule_fields("constant", 1.0),
}

HYPER = {"learning_rate": "optimizer.learning_rate"}


class State(NamedTuple):
    """All that a step changes, the problem, and the scalar that a sweep may vary.

    Attributes:
      step: int32 scalar, how many updates have been made.
      weights: w, float32 [d].
      inputs: x, float32 [n, d]; never changes.
      labels: y, float32 [n]; never changes.
      hyper: learning_rate (the peak).
    """

    step: jax.Array
    weights: jax.Array
    inputs: jax.Array
    labels: jax.Array
    hyper: Hyper


def draw_problem(
    key: jax.Array, num_examples: int, num_dimensions: int, inputs: str, loss: str
) -> tuple[jax.Array, jax.Array]:
    """Draws x [n, d] and y [n]; the arguments are the fields of the config."""
    key_x, key_y = jax.random.split(key)
    if inputs == "orthonormal":
        x = jax.random.orthogonal(key_x, num_dimensions)[:num_examples]
    else:
        x = jax.random.normal(key_x, (num_examples, num_dimensions))
    if inputs == "sphere":
        x = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
    draw_labels = jax.random.normal if loss == "squared" else jax.random.rademacher
    return x, draw_labels(key_y, (num_examples,), jnp.float32)


def losses(weights: jax.Array, x: jax.Array, y: jax.Array, loss: str) -> jax.Array:
    """The loss [n] of each example; `loss` is one of `LOSSES`."""
    # In full float32, which is not the default of every device: residuals become very small.
    outputs = jnp.matmul(x, weights, precision=jax.lax.Precision.HIGHEST)
    if loss == "squared":
        return jnp.square(outputs - y) / 2.0
    return jax.nn.softplus(-y * outputs)


def create_task(
    *, num_examples: int, num_dimensions: int, inputs: str, loss: str, batch_size: int, schedule
) -> Task:
    """The three functions of SGD on a linear model; the batch is ().

    Args:
      num_examples, num_dimensions, inputs, loss: see `FIELDS`.
      batch_size: examples that a step draws, with replacement.
      schedule: step to a factor of `hyper['learning_rate']`.
    """

    def init(key: jax.Array, hyper: Hyper) -> State:
        x, y = draw_problem(key, num_examples, num_dimensions, inputs, loss)
        return State(jnp.zeros((), jnp.int32), jnp.zeros(num_dimensions), x, y, hyper)

    def mean_loss(weights: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(losses(weights, x, y, loss))

    def step(state: State, batch: tuple, key: jax.Array) -> tuple[State, Metrics]:
        del batch
        ids = jax.random.randint(key, (batch_size,), 0, num_examples)
        value, gradient = jax.value_and_grad(mean_loss)(
            state.weights, state.inputs[ids], state.labels[ids])
        rate = state.hyper["learning_rate"] * schedule(state.step)
        state = state._replace(step=state.step + 1, weights=state.weights - rate * gradient)
        return state, {"loss": value, "learning_rate": rate}

    def evaluate(state: State, batch: tuple) -> Metrics:
        """The loss on all n examples."""
        del batch
        return {"loss": mean_loss(state.weights, state.inputs, state.labels),
                "count": jnp.ones(())}

    return Task(init, step, evaluate)


def create_objective(num_examples: int, loss: str) -> Objective:
    """The loss of each example; a batch is the numbers int32 [N] of examples of the state."""

    def losses_of(weights, state, batch, is_training):
        del is_training
        x, y = jnp.asarray(state.inputs), jnp.asarray(state.labels)  # on the host they are NumPy's
        return losses(weights, x[batch], y[batch], loss)

    def examples(count: int | None) -> np.ndarray:
        return np.arange(min(count or num_examples, num_examples), dtype=np.int32)

    return Objective(lambda state: state.weights, losses_of, examples)


def read_hyper(config: Mapping[str, Any]) -> dict[str, float]:
    """The traced scalars of a checked config."""
    return task_lib.read_hyper(config, HYPER)


def check(config: dict[str, Any], device_count: int) -> dict[str, Any]:
    """Checks that the fields fit together.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    del device_count
    if config["inputs"] == "orthonormal" and config["num_examples"] > config["num_dimensions"]:
        raise ConfigError(
            f"num_examples={config['num_examples']}: at most num_dimensions="
            f"{config['num_dimensions']} inputs are orthonormal; lower it, or set inputs='sphere'")
    simulations.create_schedule(config, config["num_steps"])
    return config


def create(config: dict[str, Any], process_index: int = 0, process_count: int = 1) -> Experiment:
    """Builds the experiment of a checked config."""
    del process_index, process_count
    return Experiment(
        task=create_task(
            **{name: config[name] for name in
               ("num_examples", "num_dimensions", "inputs", "loss", "batch_size")},
            schedule=simulations.create_schedule(config, config["num_steps"]),
        ),
        hyper=read_hyper(config),
        total_steps=config["num_steps"],
        examples_per_step=0,
        train_batches=simulations.train_batches,
        evaluation_batches=simulations.evaluation_batches,
        evaluation_split=simulations.SPLIT,
        best_metric="loss",
        figures={},
        best_is_smallest=True,
        objective=create_objective(config["num_examples"], config["loss"]),
    )
