"""How conformity delays a change of norms and where it tips: agents on a graph, one shock.

    m1    with probability k an agent does as most of its neighbours do, else it imitates by payoff
          (`games.conformity`)
    m2    conformity is a part of the utility, utility_matrix(a, b, k), and all imitate by it
    shock a and b are swapped after `shock_generation` generations

Both are reconstructions: of arXiv 1804.07406 only the abstract could be read, and whether it has
either is not known. m1 is after a rule that the first release of arXiv 1704.04720 had. On a lattice
a change is a front, which conformity slows from beginning to end; that it is fast once it has
tipped is a statement about well-mixed populations (`games.mean_field`).
"""

from collections.abc import Mapping
from typing import Any

from nfnets_jax.config import ConfigError, Fields, integer, number, text
from nfnets_jax.games import conformity, imitation
from nfnets_jax.games.payoffs import coordination_matrix, utility_matrix
from nfnets_jax.tasks import agent_graphs, norm_populations
from nfnets_jax.tasks import task as task_lib
from nfnets_jax.tasks.task import Experiment

FIELDS: Fields = {
    **norm_populations.FIELDS,
    "rule": text("m1", ("m1", "m2")),
    "conformity": number(0.4, 0, 1),
    "need_for_coordination": number(0.0, 0, 1),  # of m1
    "mutation_rate": number(0.05, 0, 1),
    "mutation": text(None, conformity.MUTATIONS),  # of m1; as_2017 by default
    "shock_generation": integer(80, 1),
    "num_generations": integer(500, 2),
}

HYPER = {**norm_populations.HYPER, "conformity": "conformity",
         "need_for_coordination": "need_for_coordination", "mutation_rate": "mutation_rate"}


def read_hyper(config: Mapping[str, Any]) -> dict[str, float]:
    """The traced scalars of a checked config."""
    return task_lib.read_hyper(config, HYPER)


def check(config: dict[str, Any], device_count: int) -> dict[str, Any]:
    """Checks that the fields fit together, and fills in defaults.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    del device_count
    if config["rule"] == "m1":
        config["mutation"] = config["mutation"] or "as_2017"
    elif config["mutation"] is not None:
        raise ConfigError(f"mutation={config['mutation']!r}: belongs to rule=m1; in m2 whoever "
                          "imitates mutates; unset it")
    elif config["need_for_coordination"] != 0:
        raise ConfigError(f"need_for_coordination={config['need_for_coordination']:g}: belongs to "
                          "rule=m1; in m2 it must be 0")
    norm_populations.check_shock(config)
    return norm_populations.check(config)


def create(config: dict[str, Any], process_index: int = 0, process_count: int = 1) -> Experiment:
    """Builds the experiment of a checked config."""
    del process_index, process_count
    graph = agent_graphs.create(config["graph"])
    shock, num_generations = config["shock_generation"], config["num_generations"]

    def make_generation(key, strategies, a, b, hyper):
        options = {"selection_strength": hyper["selection_strength"],
                   "mutation_rate": hyper["mutation_rate"], "update": config["update"]}
        if config["rule"] == "m2":
            utilities = utility_matrix(a, b, hyper["conformity"])
            return imitation.imitate(key, strategies, graph, utilities, **options)
        return conformity.conform(
            key, strategies, graph, coordination_matrix(a, b, hyper["need_for_coordination"]),
            conformity=hyper["conformity"], mutation=config["mutation"], **options)

    task = norm_populations.create_shock_task(
        graph, make_generation, num_replicas=config["num_replicas"],
        num_generations=num_generations, shock_generation=shock)
    return norm_populations.create_experiment(
        config, task, read_hyper(config), norm_populations.figures_of(
            graph, [shock], norm_populations.snapshot_times(shock, num_generations)))
