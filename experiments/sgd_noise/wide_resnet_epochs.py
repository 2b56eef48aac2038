"""Wide-ResNet-16-4 on CIFAR-10 at batch 64, 50 to 6,400 epochs.

Reproduces: arXiv 2006.15081's growing budgets, whose tables could not be read. The abstract of an
    earlier version says that over a factor of 128 in epochs the learning rate that is best for the
    test accuracy fell by a factor of 2, that which is best for the training loss by 16. Recalled:
    the batch size and the numbers of epochs.
Published accuracy: empty.
Variants and the other settings: those of wide_resnet.py.
Time: not run by us at this size. Five seeds are chosen.

    python -m nfnets_jax.sweep --config=experiments/sgd_noise/wide_resnet_epochs.py:bn \\
        --workdir=runs/wrn_epochs
    python -m nfnets_jax.report sweep --workdir=runs/wrn_epochs
    python -m nfnets_jax.report sweep --workdir=runs/wrn_epochs --select_on=train_loss \\
        --output=runs/wrn_epochs/report_train_loss
"""

from experiments.sgd_noise import wide_resnet
from nfnets_jax import sweeps


def get_config(variant: str = "bn"):
    """The config of the runs; `variant` is that of wide_resnet.py."""
    config = wide_resnet.get_config(variant)
    config.evaluate_every = 7810  # ten epochs
    return config


def get_sweep(variant: str = "bn"):
    """The runs: epochs by learning rate by seed."""
    return sweeps.product(
        {"num_epochs": tuple(50.0 * 2**k for k in range(8))},
        {"optimizer.learning_rate": wide_resnet.rates(variant)},
        {"seed": range(5)})
