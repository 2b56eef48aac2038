"""Batches of 1 to 1024 at 512 steps on the noisy quadratic: the larger, the better.

The control of diagonal_linear.py: on a convex problem less noise can only help at the same number
    of steps, so that what arXiv 2006.15081 claims, a better test accuracy with small batches, is
    nothing that this model could show.
Set-up: noisy_quadratic.py.
Expect: README.md has the table. A few seconds on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/sgd_noise/noisy_quadratic_steps.py \\
        --workdir=runs/nqm_steps
    python -m nfnets_jax.report sweep --workdir=runs/nqm_steps
"""

from experiments.sgd_noise import noisy_quadratic
from nfnets_jax import sweeps


def get_config():
    """The config of the runs."""
    config = noisy_quadratic.get_config()
    config.num_epochs = None
    config.num_steps = 512
    return config


def get_sweep():
    """The runs: batch size by learning rate."""
    return sweeps.product(
        {"batch_size": tuple(4**k for k in range(6))},
        {"optimizer.learning_rate": noisy_quadratic.RATES})
