"""May a paper cite another one several times? The model BA with and without replacement.

Reproduces: no experiment of arXiv 2002.06628, whose papers cite no other twice. With replacement
    all references of a block are drawn at once, which is exact, and another model.
Expect: README.md has the numbers. Half a minute on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/citation_growth/replacement.py --workdir=runs/ba
    python -m experiments.citation_growth.report --workdir=runs/ba
"""

from experiments.citation_growth import growing
from nfnets_jax import sweeps

NUM_SEEDS = 8


def get_config():
    """The config of the runs."""
    return growing.get_config()


def get_sweep():
    """The runs: samplers by seeds."""
    return sweeps.product([{"sampler": sampler} for sampler in ("exact", "with_replacement")],
                          {"seed": range(NUM_SEEDS)})
