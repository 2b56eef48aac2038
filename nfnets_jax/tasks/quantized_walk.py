"""SGD whose weights are rounded to a grid, on functions whose minima and laws are known.

    wells      w^2 + 2 for w < 1, (w - 2.5)^2 + 0.75 up to 3.5, (w - 4.75)^2 + 0.19 from there on
    quadratic  h / 2 |w - w*|^2
    gradient   that of the function at the rounded weights, plus N(0, sigma^2) in each coordinate

The wells are those of figure 2 of arXiv 1706.02379, as recalled; what noise there was is not, and
without noise stochastic rounding from w = 4 never leaves 4.5 and 5. `analysis.rounding_chain` has
the exact laws. Many walks are made at a time; what is measured is averaged over them and over time.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nfnets_jax.config import ConfigError, Fields, integer, number, text
from nfnets_jax.optim import quantized
from nfnets_jax.tasks import simulations
from nfnets_jax.tasks import task as task_lib
from nfnets_jax.tasks.quantization import METHODS
from nfnets_jax.tasks.task import Experiment, Hyper, Metrics, Task

DECAYS = {"constant": lambda step: 1.0, "inverse": lambda step: 1.0 / (step + 1.0),
          "inverse_sqrt": lambda step: (step + 1.0) ** -0.5}
LARGEST_GRID = 2**12
LARGEST_COUNT = 2**31 - 1  # of int32
# Followed by a point, the metric that says how much of the time it was the nearest.
SHARE = "share_at_"

FIELDS: Fields = {
    "function": text("wells", ("wells", "quadratic")),
    # Of the quadratic. The minimizers are spread evenly, drawn once for all seeds.
    "num_dimensions": integer(1, 1, 2**20),
    "curvature": number(1.0, 0, open_below=True),
    "minimizer": number(0.3, -1e6, 1e6),
    "minimizer_spread": number(0.0, 0, 1e6),
    "noise_std": number(2.0, 0),
    "start": number(4.0, -1e6, 1e6),
    "num_walks": integer(1, 1, 2**20),
    "num_steps": integer(10**6, 1),
    "num_discarded": integer(0, 0),  # first steps that are not averaged over
    "optimizer": {
        "learning_rate": number(0.01, 0),
        "decay": text("constant", tuple(DECAYS)),  # by 1, 1 / t or 1 / sqrt(t)
    },
    "quantization": {
        "method": text("stochastic", METHODS),
        "rounding": text(None, quantized.ROUNDINGS),  # of binary_connect; deterministic by default
        "delta": number(0.5, 0, open_below=True),
        "lower": number(-5.0, -1e6, 1e6),
        "upper": number(10.0, -1e6, 1e6),
    },
}

HYPER = {"learning_rate": "optimizer.learning_rate", "noise_std": "noise_std"}


class Averages(NamedTuple):
    """Means over the steps that count.

    Attributes:
      count: int32 scalar, how many these are.
      loss: float32 scalar, of the function at the rounded weights.
      weights: float32 [walks, d].
      latent: float32 [walks, d], of the weights that make the steps: w_r of BinaryConnect, and
        otherwise the weights.
      latent_square: float32 scalar, of (latent - w*)^2.
      visits: int32 [points of the grid], how often each was the nearest; () if d > 1.
    """

    count: jax.Array
    loss: jax.Array
    weights: jax.Array
    latent: jax.Array
    latent_square: jax.Array
    visits: jax.Array | tuple[()]


class State(NamedTuple):
    """All that a step changes, and the scalars that a sweep may vary.

    Attributes:
      step: int32 scalar, how many updates have been made.
      weights: float32 [walks, d], at which gradients are taken.
      opt_state: of the optax optimizer.
      averages: so far.
      hyper: learning_rate (before decay), noise_std.
    """

    step: jax.Array
    weights: jax.Array
    opt_state: Any
    averages: Averages
    hyper: Hyper


class Function(NamedTuple):
    """What is minimised.

    Attributes:
      value: `[walks, d] -> [walks]`.
      gradient: `[walks, d] -> [walks, d]`.
      minimizer: [d].
    """

    value: Any
    gradient: Any
    minimizer: np.ndarray


def wells() -> Function:
    """The function with three wells; 4.75 is its minimizer, where it is 0.19."""
    bottoms, depths, edges = np.array([0.0, 2.5, 4.75]), np.array([2.0, 0.75, 0.19]), (1.0, 3.5)

    def select(w, values):
        return jnp.where(w < edges[0], values[0], jnp.where(w < edges[1], values[1], values[2]))

    return Function(
        lambda w: jnp.sum((w - select(w, bottoms)) ** 2 + select(w, depths), axis=-1),
        lambda w: 2.0 * (w - select(w, bottoms)), bottoms[2:])


def quadratic(curvature: float, minimizer: np.ndarray) -> Function:
    """h / 2 |w - w*|^2."""
    center = np.asarray(minimizer, np.float32)
    return Function(lambda w: 0.5 * curvature * jnp.sum((w - center) ** 2, axis=-1),
                    lambda w: curvature * (w - center), np.asarray(minimizer))


def create_task(
    function: Function,
    grid: quantized.Grid,
    *,
    method: str = "stochastic",
    rounding: str = "deterministic",
    decay: str = "constant",
    start: float = 0.0,
    num_walks: int = 1,
    num_discarded: int = 0,
) -> Task:
    """The three functions of the walk; the batch is ().

    Args:
      function: to be minimised.
      grid: with both ends; weights in full precision are kept between them.
      method: one of `quantization.METHODS`.
      rounding: of binary_connect, one of `quantized.ROUNDINGS`.
      decay: of the learning rate, a key of `DECAYS`.
      start: every coordinate of step 0, rounded to the nearest point.
      num_walks: independent ones.
      num_discarded: steps before the first that is averaged over.
    """
    dimensions = len(function.minimizer)
    first = round(grid.lo / grid.delta)
    num_points = round(grid.hi / grid.delta) - first + 1 if dimensions == 1 else 0

    def optimizer(hyper: Hyper, step: jax.Array) -> optax.GradientTransformationExtraArgs:
        sgd = optax.sgd(hyper["learning_rate"] * DECAYS[decay](step))
        if method == "none":
            return optax.with_extra_args_support(sgd)
        if method == "binary_connect":
            return quantized.binary_connect(sgd, grid, rounding)
        return quantized.rounded(sgd, grid, method)

    def init(key: jax.Array, hyper: Hyper) -> State:
        del key
        zero, first_step = jnp.float32(0.0), jnp.zeros((), jnp.int32)
        weights = jnp.full((num_walks, dimensions), start, jnp.float32)
        opt_state = optimizer(hyper, first_step).init(weights)
        averages = Averages(first_step, zero, jnp.zeros_like(weights), jnp.zeros_like(weights),
                            zero, jnp.zeros(num_points, jnp.int32) if num_points else ())
        if method != "none":
            weights = quantized.project(weights, grid)
        return State(first_step, weights, opt_state, averages, hyper)

    def step(state: State, batch: tuple, key: jax.Array) -> tuple[State, Metrics]:
        del batch
        key_noise, key_rounding = jax.random.split(key)
        noise = state.hyper["noise_std"] * jax.random.normal(key_noise, state.weights.shape)
        updates, opt_state = optimizer(state.hyper, state.step).update(
            function.gradient(state.weights) + noise, state.opt_state, state.weights,
            key=key_rounding)
        weights = optax.apply_updates(state.weights, updates)
        if method == "none":
            weights = jnp.clip(weights, grid.lo, grid.hi)
        latent = weights
        if method == "binary_connect":
            latent = quantized.latent_params(opt_state, weights)
        metrics = {"loss": jnp.mean(function.value(state.weights)),
                   "learning_rate": state.hyper["learning_rate"] * DECAYS[decay](state.step)}
        averages = jax.lax.cond(state.step >= num_discarded, add, lambda averages, *_: averages,
                                state.averages, weights, latent)
        return State(state.step + 1, weights, opt_state, averages, state.hyper), metrics

    def add(averages: Averages, weights: jax.Array, latent: jax.Array) -> Averages:
        count, visits = averages.count + 1, averages.visits
        seen = (jnp.mean(function.value(weights)), weights, latent,
                jnp.mean(jnp.square(latent - function.minimizer)))
        means = jax.tree.map(lambda m, x: m + (x - m) / count, averages[1:5], seen)
        if num_points:
            points = jnp.round(quantized.round_deterministic(weights, grid) / grid.delta)
            visits = visits.at[points.astype(jnp.int32).reshape(-1) - first].add(1)
        return Averages(count, *means, visits)

    def evaluate(state: State, batch: tuple) -> Metrics:
        """Losses of now, of the mean step and of the mean latent weights; means of the weights.

        In one dimension also the share of steps at each point.
        """
        del batch
        averages = state.averages
        shares = {}
        if num_points:
            points = grid.delta * (first + np.arange(num_points))
            visited = averages.visits / jnp.maximum(averages.count * num_walks, 1)
            shares = {f"{SHARE}{point:.6g}": share
                      for point, share in zip(points, visited, strict=True)}
        return {
            "loss": jnp.mean(function.value(state.weights)),
            "mean_loss": averages.loss,
            "loss_of_mean": jnp.mean(function.value(averages.latent)),
            "mean_weight": jnp.mean(averages.weights),
            "mean_latent": jnp.mean(averages.latent),
            "latent_square": averages.latent_square,
            **shares,
            "count": jnp.ones(()),
        }

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
    quantization = config["quantization"]
    if config["function"] == "wells" and config["num_dimensions"] != 1:
        raise ConfigError(f"num_dimensions={config['num_dimensions']}: the wells have one "
                          "dimension; use 1 or function=quadratic")
    if config["num_discarded"] >= config["num_steps"]:
        raise ConfigError(f"num_discarded={config['num_discarded']}: must be less than num_steps="
                          f"{config['num_steps']}")
    if quantization["method"] == "binary_connect":
        quantization["rounding"] = quantization["rounding"] or "deterministic"
    elif quantization["rounding"] is not None:
        raise ConfigError(f"quantization.rounding={quantization['rounding']!r}: belongs to "
                          f"binary_connect, not to {quantization['method']}; unset it")
    try:
        grid = _create_grid(quantization)
    except ValueError as error:
        message = str(error)
        for bound, field in (("lo=", "lower="), ("hi=", "upper=")):
            message = message.replace(bound, field)
        raise ConfigError(f"quantization.{message}") from None
    if not grid.lo <= config["start"] <= grid.hi:
        raise ConfigError(f"start={config['start']:g}: must be between quantization.lower="
                          f"{grid.lo:g} and upper={grid.hi:g}")
    if config["num_dimensions"] == 1 and (grid.hi - grid.lo) / grid.delta > LARGEST_GRID:
        raise ConfigError(f"quantization.delta={grid.delta:g}: there would be more than "
                          f"{LARGEST_GRID} points, each of which is counted; use at least "
                          f"{(grid.hi - grid.lo) / LARGEST_GRID:g}")
    counted = config["num_steps"] - config["num_discarded"]
    if config["num_dimensions"] == 1 and counted * config["num_walks"] > LARGEST_COUNT:
        raise ConfigError(f"num_walks={config['num_walks']}: times the {counted} steps that are "
                          "counted, it is more than an int32 can count; use at most "
                          f"{LARGEST_COUNT // counted}")
    return config


def create(config: dict[str, Any], process_index: int = 0, process_count: int = 1) -> Experiment:
    """Builds the experiment of a checked config."""
    del process_index, process_count
    quantization, task_function = config["quantization"], wells()
    if config["function"] == "quadratic":
        spread = config["minimizer_spread"]
        task_function = quadratic(config["curvature"], config["minimizer"] + np.random.RandomState(
            0).uniform(-spread, spread, config["num_dimensions"]))
    return Experiment(
        task=create_task(
            task_function, _create_grid(quantization), method=quantization["method"],
            rounding=quantization["rounding"], decay=config["optimizer"]["decay"],
            **{name: config[name] for name in ("start", "num_walks", "num_discarded")}),
        hyper=read_hyper(config),
        total_steps=config["num_steps"],
        examples_per_step=0,
        train_batches=simulations.train_batches,
        evaluation_batches=simulations.evaluation_batches,
        evaluation_split=simulations.SPLIT,
        best_metric="loss",
        figures={},
        best_is_smallest=True,
    )


def _create_grid(quantization: Mapping[str, Any]) -> quantized.Grid:
    return quantized.Grid(*(quantization[name] for name in ("delta", "lower", "upper")))
