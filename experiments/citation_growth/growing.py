"""Shapes of citation histories in a network that grows: five models, four laws of distance.

Reproduces: the comparison of models in arXiv 2002.06628, whose text and numbers could not be read.
    Read in its authors' repository: the models, their constants and the classifier. Recalled: the
    window of 5 years and the threshold 0.75. Chosen: the arrivals, since the tables of papers are
    not public: 25,442 papers in 30 years, 6 percent more each year, 10 references on average.
Expect: README.md has the shares. About two minutes on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/citation_growth/growing.py --workdir=runs/grow
    python -m experiments.citation_growth.report --workdir=runs/grow
"""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config

NUM_SEEDS = 4
# Name -> what is set.
MODELS = {
    "BA": {"model": "ba"},
    "additive": {"model": "additive"},
    "multiplicative": {"model": "multiplicative"},
    **{f"LBM, {gamma}": {"model": "lbm", "gamma": gamma}
       for gamma in ("constant", "log", "sqrt", "linear")},
    "LBM-G": {"model": "lbm_g", "skip": -1, "sd": 0.1},
    "LBM-G, yearly jumps": {"model": "lbm_g", "skip": -12, "sd": 0.1},
    "LBM-G, sd 1": {"model": "lbm_g", "skip": -1, "sd": 1.0},
}


def get_config():
    """The config of the runs."""
    config = default_config("citation_growth")

    config.arrivals.kind = "growing"
    config.papers_per_step = 5000
    return config


def get_sweep():
    """The runs: models by seeds."""
    return sweeps.product(tuple(MODELS.values()), {"seed": range(NUM_SEEDS)})
