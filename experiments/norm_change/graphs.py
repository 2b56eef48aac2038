"""The same shock on other graphs with as many agents and about four neighbours each.

On the grid a cluster of the better norm grows whatever the need for coordination, for its border
moves; where all neighbours are far from each other there is no border, and at c = 1 nothing moves.
Hubs make the normalisation by the largest degree so wide that ordinary agents hardly select. Our
choice: the paper is not known to have other graphs than the grid. Teachers keep their payoffs.

Expect: README.md has the times. Half a minute on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/norm_change/graphs.py --workdir=runs/graphs
    python -m nfnets_jax.report norm_change --workdir=runs/graphs
"""

from experiments.norm_change import shock
from nfnets_jax import sweeps

NAME = "graph.name"
# Torus of 50 x 50, and defaults of the others: 2,500 agents.
GRAPHS = ("torus", "random_regular", "watts_strogatz", "barabasi_albert")
NEEDS = (0.0, 0.5, 1.0)


def get_config():
    """The config of the runs."""
    config = shock.get_config()
    config.seed = 11
    config.graph.height = config.graph.width = None
    config.teacher_payoff = "frozen"
    config.num_replicas = 8
    config.num_generations = 900
    return config


def get_sweep():
    """The runs: graph by need for coordination."""
    return sweeps.product({NAME: GRAPHS}, {shock.C: NEEDS})
