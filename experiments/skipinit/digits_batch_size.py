"""Batch sizes of 8 to 512 at a constant number of epochs, with batch norm and SkipInit, on digits.

The laptop's version of the batch-size sweep of arXiv 2002.10444: whatever the batch size, 20 epochs
and its own best learning rate of a grid of powers of 2. Data, network, optimizer and schedule are
those of digits_depth.py with 6 blocks, chosen as there.
Expect: README.md has what was measured. 264 runs, four minutes on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/skipinit/digits_batch_size.py \\
        --workdir=runs/skipinit_batch_size
    python -m experiments.skipinit.table --workdir=runs/skipinit_batch_size
    python -m nfnets_jax.report sweep --workdir=runs/skipinit_batch_size
"""

from experiments.skipinit import digits_depth, methods
from nfnets_jax import sweeps


def get_config():
    """The config of the runs."""
    config = digits_depth.get_config("6")
    config.num_steps = None
    config.num_epochs = 20.0
    return config


def get_sweep():
    """The runs: kind of block by batch size by learning rate by seed."""
    return sweeps.product(
        methods.rows(("bn", "skipinit"), "mlp", num_blocks=6),
        {"batch_size": (8, 32, 128, 512)},
        {"optimizer.learning_rate": sweeps.powers(2, -11, -1)},
        {"seed": range(3)})
