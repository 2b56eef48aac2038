"""Conformity on a grid: how long a society of conformists keeps a norm that has become worse.

Reproduces: nothing of arXiv 1804.07406, of which only the abstract could be read. The rule is a
    reconstruction after one that the first release of arXiv 1704.04720 had: with probability k an
    agent does as most of its four neighbours do, else it imitates by payoff. Fixed payoffs, s = 5,
    mu = 0.05, teachers keep their payoffs; one shock after 80 of 500 generations. Our choice.
Variants: synchronous; random_sequential, another process, which is faster where k is large.
Expect: README.md has the times. A quarter of a minute on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/tipping_points/grid.py --workdir=runs/tipping
    python -m nfnets_jax.report tipping_points --workdir=runs/tipping
"""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config

K = "conformity"
CONFORMITIES = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9)


def get_config(variant: str = "synchronous"):
    """The config of the runs; `variant` is synchronous or random_sequential."""
    if variant not in ("synchronous", "random_sequential"):
        raise ValueError(f"{variant!r}: use synchronous or random_sequential")
    config = default_config("tipping_points")
    config.seed = 1804

    config.graph.name = "torus"
    config.graph.height = config.graph.width = 50
    config.payoffs.a, config.payoffs.b = 0.4, 0.6
    config.selection_strength = 5.0
    config.rule = "m1"
    config.mutation_rate = 0.05
    config.mutation = "as_2017"
    config.update = variant

    config.num_replicas, config.shock_generation, config.num_generations = 12, 80, 500
    config.evaluate_every = 2
    return config


def get_sweep():
    """The runs: conformity."""
    return sweeps.product({K: CONFORMITIES})
