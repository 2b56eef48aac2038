"""One structural shock on a grid: how long a society keeps a norm that has become the worse one.

Reproduces: the set-up of figure 6 of arXiv 1704.04720, whose text after the introduction could not
    be read: the rules, payoffs, s = 5, mu = 0.05 and 50 x 50 agents are those of the release. The
    values of c, the shock after 100 generations and 24 replicas are our choice; that all replicas
    have moved before the end at c = 1 needs the 900 generations after it.
Variants: laptop; paper, 6,000 generations with the shock after 2,500 and 100 replicas, which are
    the numbers of the release's runs on a cluster.
Expect: README.md has the times. A quarter of a minute on two CPU cores, some five minutes for
    paper.

    python -m nfnets_jax.sweep --config=experiments/norm_change/shock.py --workdir=runs/shock
    python -m nfnets_jax.report norm_change --workdir=runs/shock
"""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config

C = "need_for_coordination"
NEEDS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def get_config(variant: str = "laptop"):
    """The config of the runs; `variant` is laptop or paper."""
    if variant not in ("laptop", "paper"):
        raise ValueError(f"{variant!r}: use laptop or paper")
    config = default_config("norm_change")
    config.seed = 20170508

    config.graph.name = "torus"
    config.graph.height = config.graph.width = 50
    config.payoffs.a, config.payoffs.b = 0.4, 0.6
    config.selection_strength = 5.0
    config.mutation_rate = 0.05
    config.teacher_payoff = "zero"

    config.num_replicas, config.shock_generation, config.num_generations = (
        (24, 100, 1000) if variant == "laptop" else (100, 2500, 6000))
    config.evaluate_every = 4 if variant == "laptop" else 10
    return config


def get_sweep():
    """The runs: need for coordination."""
    return sweeps.product({C: NEEDS})
