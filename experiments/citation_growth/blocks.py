"""What an error it is to change weights only after a block of papers: multiplicative fitness.

Reproduces: no experiment of arXiv 2002.06628, whose simulators change them after every paper.
    Blocks have one size; 848 papers are a year on average, 70 a month and 16 a week.
Expect: README.md has the numbers. A minute on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/citation_growth/blocks.py --workdir=runs/blocks
    python -m experiments.citation_growth.report --workdir=runs/blocks
"""

from experiments.citation_growth import growing
from nfnets_jax import sweeps

NUM_SEEDS = 8
BLOCKS = (848, 212, 70, 16)
EXACT = {"sampler": "exact", "papers_per_step": 5000}


def get_config():
    """The config of the runs."""
    config = growing.get_config()
    config.model = "multiplicative"
    return config


def get_sweep():
    """The runs: sizes of blocks by seeds."""
    sizes = [{"sampler": "block_synchronous", "papers_per_step": size} for size in BLOCKS]
    return sweeps.product([*sizes, EXACT], {"seed": range(NUM_SEEDS)})
