"""How heavy the tail of fitness may be: Lomax laws of exponent 1, 2 and 3 in models of fitness.

Reproduces: no experiment of arXiv 2002.06628, whose simulators have the exponent 1, where the mean
    of the fitness is infinite.
Expect: README.md has the shares. Half a minute on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/citation_growth/exponents.py --workdir=runs/fit
    python -m experiments.citation_growth.report --workdir=runs/fit
"""

from experiments.citation_growth import growing
from nfnets_jax import sweeps

MODELS = ("additive", "multiplicative")
EXPONENTS = (1.0, 2.0, 3.0)


def get_config():
    """The config of the runs."""
    return growing.get_config()


def get_sweep():
    """The runs: models by exponents by seeds."""
    return sweeps.product({"model": MODELS, "fitness_exponent": EXPONENTS,
                           "seed": range(growing.NUM_SEEDS)})
