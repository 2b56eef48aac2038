"""Which exploration rates evolve where norms change again and again: agents on a graph.

Every agent has a rate at which it takes a random norm, and copies its teacher's rate with the norm
(`games.exploration`). The norms swap payoffs every `shock_every` generations; the game is that of
`norm_change`. After the release of arXiv 1704.04720; means are over the second half of the run.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nfnets_jax.config import ConfigError, Fields, integer, number, text
from nfnets_jax.games import exploration, imitation
from nfnets_jax.games.exploration import RATES
from nfnets_jax.games.graphs import Graph
from nfnets_jax.games.payoffs import coordination_matrix
from nfnets_jax.reports import norms as report
from nfnets_jax.tasks import agent_graphs, norm_populations
from nfnets_jax.tasks import task as task_lib
from nfnets_jax.tasks.norm_populations import History
from nfnets_jax.tasks.task import Experiment, Hyper, Metrics, Task

FIELDS: Fields = {
    **norm_populations.FIELDS,
    "need_for_coordination": number(0.5, 0, 1),
    "redraw_probability": number(0.05, 0, 1, open_below=True),
    "teacher_payoff": text("frozen", imitation.TEACHER_PAYOFFS),
    "comparison": text("normalized", imitation.COMPARISONS),
    "shock_every": integer(75, 1),
    "num_generations": integer(1500, 2),
}

HYPER = {**norm_populations.HYPER, "need_for_coordination": "need_for_coordination",
         "redraw_probability": "redraw_probability"}


class State(NamedTuple):
    """All that a step changes, and the scalars that a sweep may vary.

    Attributes:
      generation: int32 scalar, how many have been made.
      strategies: int8 [R, N], 0 = A and 1 = B.
      rates: int8 [R, N], numbers of `exploration.RATES`.
      history: of the better norm.
      rate_shares: float32 [generations + 1, 6], of each rate, mean over replicas; rows as in the
        history.
      rate_sums: float32 [R, 6], sums of each replica's shares over the second half.
      hyper: the traced scalars.
    """

    generation: jax.Array
    strategies: jax.Array
    rates: jax.Array
    history: History
    rate_shares: jax.Array
    rate_sums: jax.Array
    hyper: Hyper


def create_task(graph: Graph, *, num_replicas: int, num_generations: int, shock_every: int,
                **options: str) -> Task:
    """The three functions; the batch is ().

    Args:
      graph: of the agents.
      num_replicas: R.
      num_generations: of the run.
      shock_every: generations from one swap of payoffs to the next.
      **options: update, teacher_payoff and comparison of `exploration.explore`.
    """
    half = num_generations // 2
    times = norm_populations.snapshot_times(0, num_generations)

    def shares_of(rates: jax.Array) -> jax.Array:
        return jnp.stack([jnp.mean(rates == i, axis=1) for i in range(len(RATES))], axis=1)

    def init(key: jax.Array, hyper: Hyper) -> State:
        key_norms, key_rates = jax.random.split(key)
        strategies = imitation.random_strategies(key_norms, num_replicas, len(graph.degrees))
        rates = exploration.random_rates(key_rates, num_replicas, len(graph.degrees))
        history = norm_populations.start_history(
            strategies, hyper["payoff_b"] > hyper["payoff_a"], num_generations,
            len(times) if graph.sides else 0)
        rate_shares = jnp.zeros((num_generations + 1, len(RATES)), jnp.float32)
        rate_shares = rate_shares.at[0].set(jnp.mean(shares_of(rates), axis=0))
        return State(jnp.zeros((), jnp.int32), strategies, rates, history, rate_shares,
                     jnp.zeros((num_replicas, len(RATES)), jnp.float32), hyper)

    def step(state: State, batch: tuple, key: jax.Array) -> tuple[State, Metrics]:
        del batch
        hyper = state.hyper
        a, b = norm_populations.swapped(hyper, state.generation // shock_every % 2 == 1)
        strategies, rates = exploration.explore(
            key, state.strategies, state.rates, graph,
            coordination_matrix(a, b, hyper["need_for_coordination"]),
            selection_strength=hyper["selection_strength"],
            redraw_probability=hyper["redraw_probability"], **options)
        generation = state.generation + 1
        history = norm_populations.add_to_history(
            state.history, generation, strategies, b > a, times)
        shares = shares_of(rates)
        rate_shares = jax.lax.dynamic_update_index_in_dim(
            state.rate_shares, jnp.mean(shares, axis=0), generation, 0)
        rate_sums = state.rate_sums + jnp.where(generation > half, shares, 0.0)
        metrics = norm_populations.step_metrics(history, generation)
        metrics["mean_rate"] = jnp.mean(shares @ jnp.array(RATES))
        return State(generation, strategies, rates, history, rate_shares, rate_sums,
                     hyper), metrics

    def evaluate(state: State, batch: tuple) -> Metrics:
        """Means over the generations of the second half so far, NaN before, and errors of them."""
        del batch
        rows = jnp.arange(num_generations + 1)
        counts = (rows > half) & (rows <= state.generation)
        everybody = jnp.ones(num_replicas, bool)
        rate_shares = state.rate_sums / jnp.sum(counts)
        better = jnp.sum(jnp.where(counts[:, None], state.history.shares, 0.0), axis=0)
        metrics = norm_populations.step_metrics(state.history, state.generation)
        for name, values in (("mean_rate", rate_shares @ jnp.array(RATES)),
                             ("time_on_better", better / jnp.sum(counts))):
            metrics[name], metrics[f"{name}_error"] = norm_populations.mean_and_error(
                values, everybody)
        metrics |= {f"share_of_rate_{rate:g}": jnp.mean(rate_shares[:, i])
                    for i, rate in enumerate(RATES)}
        return {**metrics, "count": jnp.ones(())}

    return Task(init, step, evaluate)


def read_hyper(config: Mapping[str, Any]) -> dict[str, float]:
    """The traced scalars of a checked config."""
    return task_lib.read_hyper(config, HYPER)


def check(config: dict[str, Any], device_count: int) -> dict[str, Any]:
    """Checks that the fields fit together, and fills in defaults.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    del device_count
    if config["shock_every"] >= config["num_generations"]:
        raise ConfigError(f"shock_every={config['shock_every']}: must be less than "
                          f"num_generations={config['num_generations']}")
    return norm_populations.check(config, config["teacher_payoff"])


def create(config: dict[str, Any], process_index: int = 0, process_count: int = 1) -> Experiment:
    """Builds the experiment of a checked config."""
    del process_index, process_count
    graph, generations = agent_graphs.create(config["graph"]), config["num_generations"]

    def draw_rates(state, path):
        if state.generation == 0:
            return None
        shares = state.rate_shares[:state.generation + 1]
        report.plot_rates(shares, RATES, path)
        return {"rate_shares": shares}

    task = create_task(graph, **{name: config[name] for name in (
        "num_replicas", "num_generations", "shock_every", "update", "teacher_payoff",
        "comparison")})
    shocks = list(range(config["shock_every"], generations, config["shock_every"]))
    return norm_populations.create_experiment(
        config, task, read_hyper(config), {
            **norm_populations.figures_of(
                graph, shocks, norm_populations.snapshot_times(0, generations)),
            "rates": draw_rates})
