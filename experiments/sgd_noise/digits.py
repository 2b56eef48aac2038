"""Batch sizes of 8 to 1024 at a constant number of epochs, on 8x8 digits: 880 runs in a minute.

Reproduces the protocol of arXiv 2006.15081 (its body could not be read; the protocol is recalled):
    for every batch size its own best learning rate of a grid of powers of 2, ten seeds each, the
    rate held for half of the run and then halved. Data, network and lengths are our choice: 1,024
    of scikit-learn's digits, an MLP of 64-64-10 units, 20 epochs, no decay and no augmentation.
Variants: noisy, a fifth of the training labels drawn anew, so that there is noise in the gradients
    to the end; clean, without that; noisy,momentum and clean,momentum, heavy ball with 0.9.
Expect: README.md has what was measured. About 75 s on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/sgd_noise/digits.py --workdir=runs/sgd_noise
    python -m nfnets_jax.report sweep --workdir=runs/sgd_noise --best_k=8
"""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config

LABELS = {"noisy": "train_noisy", "clean": "train"}


def get_config(variant: str = "noisy"):
    """The config of the runs; `variant` is noisy, clean, noisy,momentum or clean,momentum."""
    labels, has_momentum = _parse(variant)
    config = default_config("classification")

    config.network.name = "mlp"
    config.dataset.name = "digits_permuted"
    config.dataset.train_split = LABELS[labels]
    config.dataset.normalization = "pixel"
    config.batch_size = 8
    config.evaluation_batch_size = 1024
    config.label_smoothing = 0.0

    config.num_epochs = 20.0
    config.optimizer.learning_rate = 0.125
    config.optimizer.momentum = 0.9 if has_momentum else 0.0
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 0.0
    config.schedule.name = "halving"
    config.schedule.warmup_epochs = 0.0
    return config


def get_sweep(variant: str = "noisy"):
    """The runs: batch size by learning rate by seed."""
    _, has_momentum = _parse(variant)
    rates = sweeps.powers(2, -10, 1) if has_momentum else sweeps.powers(2, -6, 4)
    return sweeps.product(
        {"batch_size": (8, 16, 32, 64, 128, 256, 512, 1024)},
        {"optimizer.learning_rate": rates},
        {"seed": range(10)})


def _parse(variant: str) -> tuple[str, bool]:
    labels, _, option = variant.partition(",")
    if labels not in LABELS or option not in ("", "momentum"):
        raise ValueError(f"{variant!r}: use noisy, clean, noisy,momentum or clean,momentum")
    return labels, bool(option)
