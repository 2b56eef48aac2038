"""What simulations of norms on graphs have in common: the graph, the history, a shock, figures.

Shares in a history are of the better norm, which pays more in the generation at hand.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax.config import ConfigError, Fields, integer, number, text
from nfnets_jax.games import imitation
from nfnets_jax.games.graphs import Graph
from nfnets_jax.reports import norms as report
from nfnets_jax.tasks import agent_graphs, simulations
from nfnets_jax.tasks.task import Experiment, Hyper, Metrics, Task

MOST_SNAPSHOTS = 8
THRESHOLDS = {"t10": 0.1, "t50": 0.5, "t90": 0.9}

FIELDS: Fields = {
    "graph": agent_graphs.FIELDS,
    "payoffs": {"a": number(0.4, 0), "b": number(0.6, 0)},
    "selection_strength": number(5.0, 0),
    "update": text("random_sequential", imitation.UPDATES),
    "num_replicas": integer(24, 1, 2**16),
}

HYPER = {"payoff_a": "payoffs.a", "payoff_b": "payoffs.b",
         "selection_strength": "selection_strength"}


class History(NamedTuple):
    """What has been seen of a run.

    Attributes:
      shares: float32 [generations + 1, R], of the better norm after each generation; row 0 is
        before the first, and rows of generations to come are 0.
      snapshots: int8 [S, N], replica 0 at the generations of `snapshot_times`; () unless the graph
        is a torus.
    """

    shares: jax.Array
    snapshots: jax.Array | tuple[()]


class ShockState(NamedTuple):
    """A run with one structural shock.

    Attributes:
      generation: int32 scalar, how many have been made.
      strategies: int8 [R, N], 0 = A and 1 = B.
      history: so far.
      hyper: the traced scalars.
    """

    generation: jax.Array
    strategies: jax.Array
    history: History
    hyper: Hyper


def check(config: dict[str, Any], teacher_payoff: str = "frozen") -> dict[str, Any]:
    """Checks graph, payoffs and update, and fills in the graph's defaults.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    config["graph"] = agent_graphs.check(config["graph"])
    if config["payoffs"]["a"] == config["payoffs"]["b"]:
        raise ConfigError(f"payoffs.b={config['payoffs']['b']:g}: must differ from payoffs.a, or "
                          "neither norm is better")
    try:
        imitation.check_update(
            agent_graphs.create(config["graph"]), config["update"], teacher_payoff)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return config


def check_shock(config: Mapping[str, Any]) -> None:
    """Raises a ConfigError if the shock does not come before the end."""
    if config["shock_generation"] >= config["num_generations"]:
        raise ConfigError(f"shock_generation={config['shock_generation']}: must be less than "
                          f"num_generations={config['num_generations']}")


def snapshot_times(start: int, stop: int) -> list[int]:
    """The generations that are kept as pictures: `start`, and ever wider apart until `stop`."""
    distances = np.geomspace(1, stop - start, MOST_SNAPSHOTS - 1)
    return sorted({start, *(start + round(distance) for distance in distances)})


def start_history(strategies: jax.Array, b_is_better: jax.Array, num_generations: int,
                  num_snapshots: int) -> History:
    """The history before the first generation; arguments as in `add_to_history`."""
    replicas, nodes = strategies.shape
    shares = jnp.zeros((num_generations + 1, replicas), jnp.float32)
    shares = shares.at[0].set(better_shares(strategies, b_is_better))
    if not num_snapshots:
        return History(shares, ())
    snapshots = jnp.zeros((num_snapshots, nodes), jnp.int8)
    return History(shares, snapshots.at[0].set(strategies[0]))


def add_to_history(history: History, generation: jax.Array, strategies: jax.Array,
                   b_is_better: jax.Array, times: list[int]) -> History:
    """Writes down a generation.

    Args:
      history: so far.
      generation: that has been made, from 1.
      strategies: int8 [R, N], after it.
      b_is_better: bool scalar, in it.
      times: from `snapshot_times`.
    """
    snapshots = history.snapshots
    if len(snapshots):
        # The picture of a time is overwritten until that time has come.
        slot = jnp.searchsorted(jnp.array(times), generation)
        snapshots = jax.lax.dynamic_update_index_in_dim(snapshots, strategies[0], slot, 0)
    shares = better_shares(strategies, b_is_better)
    return History(
        jax.lax.dynamic_update_index_in_dim(history.shares, shares, generation, 0), snapshots)


def better_shares(strategies: jax.Array, b_is_better: jax.Array) -> jax.Array:
    """float32 [R], the share of the better norm in each replica."""
    with_b = jnp.sum(strategies, axis=1, dtype=jnp.int32)
    nodes = strategies.shape[1]
    return jnp.where(b_is_better, with_b, nodes - with_b).astype(jnp.float32) / nodes


def mean_and_error(values: jax.Array, counts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean of the values [R] that count, and its standard error; NaN if too few count."""
    number = jnp.sum(counts)
    mean = jnp.sum(jnp.where(counts, values, 0.0)) / number
    squares = jnp.sum(jnp.where(counts, jnp.square(values - mean), 0.0))
    return mean, jnp.sqrt(squares / jnp.where(number > 1, number - 1, 0) / number)


def transit_metrics(shares: jax.Array, generation: jax.Array, shock: int) -> Metrics:
    """How long the better norm takes after a shock.

    Args:
      shares: of a `History`.
      generation: how many have been made.
      shock: how many of them were made before it.

    Returns:
      `t10`, `t50`, `t90`, the mean number of generations from the shock until the better norm has
      10, 50 and 90 percent, among the replicas that get there; `t10_error`, ..., its standard
      error; `fraction_switched`, of the replicas that get to 50 percent, and `fraction_t90`;
      `worse_before_shock`, the mean share of the worse norm, and its `_error`. NaN where nothing
      or too little counts, as all are before the shock.
    """
    rows = jnp.arange(len(shares))[:, None]
    metrics = {}
    for name, threshold in THRESHOLDS.items():
        is_there = (rows > shock) & (rows <= generation) & (shares >= threshold)
        arrives = jnp.any(is_there, axis=0)
        times = (jnp.argmax(is_there, axis=0) - shock).astype(jnp.float32)
        metrics[name], metrics[f"{name}_error"] = mean_and_error(times, arrives)
        fraction = "fraction_switched" if name == "t50" else f"fraction_{name}"
        metrics[fraction] = jnp.where(generation > shock, jnp.mean(arrives), jnp.nan)
    del metrics["fraction_t10"]
    before = mean_and_error(1.0 - shares[shock], jnp.broadcast_to(
        generation >= shock, shares[shock].shape))
    metrics["worse_before_shock"], metrics["worse_before_shock_error"] = before
    return metrics


def create_shock_task(
    graph: Graph,
    make_generation: Callable[..., jax.Array],
    *,
    num_replicas: int,
    num_generations: int,
    shock_generation: int,
) -> Task:
    """A population in which the norms swap payoffs once; the batch is ().

    Args:
      graph: of the agents.
      make_generation: `(key, strategies, a, b, hyper) -> strategies`.
      num_replicas: R.
      num_generations: of the run.
      shock_generation: how many are made before the shock.
    """
    times = snapshot_times(shock_generation, num_generations)

    def init(key: jax.Array, hyper: Hyper) -> ShockState:
        strategies = imitation.random_strategies(key, num_replicas, len(graph.degrees))
        history = start_history(strategies, hyper["payoff_b"] > hyper["payoff_a"],
                                num_generations, len(times) if graph.sides else 0)
        return ShockState(jnp.zeros((), jnp.int32), strategies, history, hyper)

    def step(state: ShockState, batch: tuple, key: jax.Array) -> tuple[ShockState, Metrics]:
        del batch
        a, b = swapped(state.hyper, state.generation >= shock_generation)
        strategies = make_generation(key, state.strategies, a, b, state.hyper)
        generation = state.generation + 1
        history = add_to_history(state.history, generation, strategies, b > a, times)
        return ShockState(generation, strategies, history, state.hyper), step_metrics(
            history, generation)

    def evaluate(state: ShockState, batch: tuple) -> Metrics:
        del batch
        return {**step_metrics(state.history, state.generation),
                **transit_metrics(state.history.shares, state.generation, shock_generation),
                "count": jnp.ones(())}

    return Task(init, step, evaluate)


def swapped(hyper: Hyper, is_swapped: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The payoffs of A and B, before or after they have been swapped."""
    a, b = hyper["payoff_a"], hyper["payoff_b"]
    return jnp.where(is_swapped, b, a), jnp.where(is_swapped, a, b)


def step_metrics(history: History, generation: jax.Array) -> Metrics:
    """The mean share of the better norm, and as `loss` that of the other."""
    share = jnp.mean(history.shares[generation])
    return {"loss": 1.0 - share, "share_of_better": share}


def create_experiment(config: Mapping[str, Any], task: Task, hyper: dict[str, float],
                      figures: Mapping[str, Callable]) -> Experiment:
    """The experiment of a simulation; a step is a generation."""
    return Experiment(
        task=task,
        hyper=hyper,
        total_steps=config["num_generations"],
        examples_per_step=0,
        train_batches=simulations.train_batches,
        evaluation_batches=simulations.evaluation_batches,
        evaluation_split=simulations.SPLIT,
        best_metric="loss",
        figures=dict(figures),
        best_is_smallest=True,
    )


def figures_of(graph: Graph, shocks: list[int], times: list[int]) -> dict[str, Callable]:
    """Figures of the trajectories, and of a torus at `times`; nothing is drawn at the start.

    Args:
      graph: of the agents.
      shocks: generations at which payoffs swap.
      times: from `snapshot_times`.
    """
    def trajectories(state, path):
        if state.generation == 0:
            return None
        shares = state.history.shares[:state.generation + 1]
        report.plot_trajectories(shares, [t for t in shocks if t < state.generation], path)
        return {"shares": shares}

    def lattice(state, path):
        seen = [t <= state.generation for t in times]
        if state.generation == 0 or not any(seen):
            return None
        snapshots = state.history.snapshots[np.array(seen)].reshape(-1, *graph.sides)
        report.plot_lattices(snapshots, [t for t, there in zip(times, seen, strict=True) if there],
                             path)
        return {"snapshots": snapshots}

    return {"trajectories": trajectories, **({"lattice": lattice} if graph.sides else {})}
