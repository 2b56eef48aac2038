"""Which exploration rates evolve on a grid whose norms swap payoffs every 75 generations.

Reproduces: the set-up of figure 8 of arXiv 1704.04720, whose text after the introduction could not
    be read: the rules, the rates 0 to 0.5, the period and 50 x 50 agents are those of the release.
    The values of c, 1,500 generations and six replicas are our choice.
Variants: zero, teachers as in the release; frozen, teachers keep their payoffs.
Expect: README.md has the rates, means over the second half. A quarter of a minute on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/norm_change/exploration.py \\
        --workdir=runs/exploration
    python -m nfnets_jax.report norm_change --workdir=runs/exploration
"""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config

C = "need_for_coordination"
NEEDS = (0.0, 0.25, 0.5, 0.75, 1.0)


def get_config(variant: str = "zero"):
    """The config of the runs; `variant` is zero or frozen."""
    if variant not in ("zero", "frozen"):
        raise ValueError(f"{variant!r}: use zero or frozen")
    config = default_config("exploration_rates")
    config.seed = 20170509

    config.graph.name = "torus"
    config.graph.height = config.graph.width = 50
    config.payoffs.a, config.payoffs.b = 0.4, 0.6
    config.selection_strength = 5.0
    config.redraw_probability = 0.05
    config.shock_every = 75
    config.teacher_payoff = variant

    config.num_replicas, config.num_generations = 6, 1500
    config.evaluate_every = 5
    return config


def get_sweep():
    """The runs: need for coordination."""
    return sweeps.product({C: NEEDS})
