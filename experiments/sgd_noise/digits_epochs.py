"""More and more epochs at batch 16: whether the best learning rate falls with them.

Reproduces the question of arXiv 2006.15081 about growing budgets (recalled, not read: 50 to 6,400
    epochs at batch 64): the learning rate that is best for the test accuracy should hardly change,
    the one that is best for the training loss should fall. Set-up: digits.py, 3 to 192 epochs, five
    seeds.
Variants: clean; noisy, whose wrong labels reverse it, because training longer learns them: there
    the best rate falls as the number of epochs grows. Not evidence about the paper's claim.
Expect: README.md has what was measured. A minute on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/sgd_noise/digits_epochs.py --workdir=runs/epochs
    python -m nfnets_jax.report sweep --workdir=runs/epochs
"""

from experiments.sgd_noise import digits
from nfnets_jax import sweeps


def get_config(labels: str = "clean"):
    """The config of the runs; `labels` is clean or noisy."""
    config = digits.get_config(labels)
    config.batch_size = 16
    return config


def get_sweep():
    """The runs: epochs by learning rate by seed."""
    return sweeps.product(
        {"num_epochs": tuple(3.0 * 2**k for k in range(7))},
        {"optimizer.learning_rate": sweeps.powers(2, -6, 4)},
        {"seed": range(5)})
