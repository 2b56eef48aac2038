"""How long a population takes to change its norm: agents on a graph, one structural shock.

    game        coordination_matrix(a, b, c): with need for coordination c, a partner of the other
                norm costs the share c of one's own payoff
    shock       a and b are swapped after `shock_generation` generations
    generation  every agent plays with all its neighbours, then may copy one (`games.imitation`)

After the release of arXiv 1704.04720, whose text after the introduction could not be read: times of
transit are measured by our definitions, and by default teachers keep their payoffs for a pass. The
release is teacher_payoff = zero. Many replicas are made at a time; those of one index and seed are
the same whatever their number.
"""

from collections.abc import Mapping
from typing import Any

from nfnets_jax.config import Fields, integer, number, text
from nfnets_jax.games import imitation
from nfnets_jax.games.payoffs import coordination_matrix
from nfnets_jax.tasks import agent_graphs, norm_populations
from nfnets_jax.tasks import task as task_lib
from nfnets_jax.tasks.task import Experiment

FIELDS: Fields = {
    **norm_populations.FIELDS,
    "need_for_coordination": number(0.5, 0, 1),
    "mutation_rate": number(0.05, 0, 1),
    "mutation": text("in_imitation", imitation.MUTATIONS),
    "teacher_payoff": text("frozen", imitation.TEACHER_PAYOFFS),
    "comparison": text("normalized", imitation.COMPARISONS),
    "shock_generation": integer(100, 1),
    "num_generations": integer(1000, 2),
}

HYPER = {**norm_populations.HYPER, "need_for_coordination": "need_for_coordination",
         "mutation_rate": "mutation_rate"}


def read_hyper(config: Mapping[str, Any]) -> dict[str, float]:
    """The traced scalars of a checked config."""
    return task_lib.read_hyper(config, HYPER)


def check(config: dict[str, Any], device_count: int) -> dict[str, Any]:
    """Checks that the fields fit together, and fills in defaults.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    del device_count
    norm_populations.check_shock(config)
    return norm_populations.check(config, config["teacher_payoff"])


def create(config: dict[str, Any], process_index: int = 0, process_count: int = 1) -> Experiment:
    """Builds the experiment of a checked config."""
    del process_index, process_count
    graph = agent_graphs.create(config["graph"])
    shock, num_generations = config["shock_generation"], config["num_generations"]

    def make_generation(key, strategies, a, b, hyper):
        return imitation.imitate(
            key, strategies, graph, coordination_matrix(a, b, hyper["need_for_coordination"]),
            selection_strength=hyper["selection_strength"], mutation_rate=hyper["mutation_rate"],
            **{name: config[name] for name in ("update", "teacher_payoff", "mutation",
                                               "comparison")})

    task = norm_populations.create_shock_task(
        graph, make_generation, num_replicas=config["num_replicas"],
        num_generations=num_generations, shock_generation=shock)
    return norm_populations.create_experiment(
        config, task, read_hyper(config), norm_populations.figures_of(
            graph, [shock], norm_populations.snapshot_times(shock, num_generations)))
