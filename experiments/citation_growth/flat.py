"""The models of `growing.py` where as many papers arrive every year: 800, 24,300 in all.

Reproduces: no experiment of arXiv 2002.06628. In expectation, histories of a model of degrees rise
    or fall with the arrivals, all together; this is the other half of that test.
Expect: README.md has the shares. About a minute on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/citation_growth/flat.py --workdir=runs/flat
    python -m experiments.citation_growth.report --workdir=runs/flat
"""

from experiments.citation_growth import growing
from nfnets_jax import sweeps

NAMES = ("BA", "additive", "multiplicative", "LBM, sqrt", "LBM-G")


def get_config():
    """The config of the runs."""
    config = growing.get_config()
    config.arrivals.kind = "flat"
    return config


def get_sweep():
    """The runs: models by seeds."""
    return sweeps.product([growing.MODELS[name] for name in NAMES],
                          {"seed": range(growing.NUM_SEEDS)})
