"""Sparse regression with a diagonal linear network: small batches find the better solution.

40 examples in 100 dimensions, a truth with 5 entries of +-1, 5,000 steps of constant learning rate
whatever the batch: the small problem in which large batches lose at the same number of steps, as
arXiv 2006.15081 claims for networks. A study of our own; the config's batch size is 1, 40 is the
full batch.

Expect: a training loss near 0 and a test error that depends much on the seed, in a few seconds on
    a laptop. The sweep over six batch sizes takes about a minute; README.md has its table.

    python -m nfnets_jax.train --config=experiments/sgd_noise/diagonal_linear.py --workdir=runs/dln
    python -m nfnets_jax.sweep --config=experiments/sgd_noise/diagonal_linear.py \\
        --workdir=runs/dln_sweep
    python -m nfnets_jax.report sweep --workdir=runs/dln_sweep --select_on=test_test_error

In the table of the sweep `test_loss` is the loss on the 40 examples, which are those for training,
and `test_test_error` is |beta - truth|^2.
"""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config


def get_config():
    """The config of the run."""
    config = default_config("diagonal_linear")

    config.num_examples = 40
    config.num_dimensions = 100
    config.num_nonzero = 5
    config.start = 0.1

    config.batch_size = 1
    config.num_steps = 5000
    config.optimizer.learning_rate = 2**-4
    config.optimizer.momentum = 0.0
    config.schedule.name = "constant"
    config.schedule.final_fraction = 1.0

    config.log_every = 500
    config.evaluate_every = 500
    config.checkpoint_every = 500
    return config


def get_sweep():
    """The runs: batch size by learning rate, in half octaves, by seed."""
    return sweeps.product(
        {"batch_size": (1, 2, 4, 8, 16, 40)},
        {"optimizer.learning_rate": sweeps.powers(2, -8, 0.5, per_step=2)},
        {"seed": range(10)})
