"""2 to 128 epochs of batches of 8 on the noisy quadratic: the best learning rate falls with them.

The half of arXiv 2006.15081's question about growing budgets (recalled) that concerns the training
    loss: the longer the run, the smaller the noise has to be at its end and the smaller the best
    learning rate. digits_epochs.py has the half that concerns the test accuracy.
Set-up: noisy_quadratic.py.
Expect: README.md has the table. Ten seconds on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/sgd_noise/noisy_quadratic_epochs.py \\
        --workdir=runs/nqm_epochs
    python -m nfnets_jax.report sweep --workdir=runs/nqm_epochs
"""

from experiments.sgd_noise import noisy_quadratic
from nfnets_jax import sweeps


def get_config():
    """The config of the runs."""
    config = noisy_quadratic.get_config()
    config.batch_size = 8
    return config


def get_sweep():
    """The runs: epochs by learning rate."""
    return sweeps.product(
        {"num_epochs": tuple(2.0**k for k in range(1, 8))},
        {"optimizer.learning_rate": noisy_quadratic.RATES})
