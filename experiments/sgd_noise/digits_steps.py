"""Batch sizes of 16 to 1024 at a constant number of steps: a negative control.

arXiv 2006.15081 claims that large batches end with a worse test accuracy than small ones at the
    same number of steps (9,765 for a Wide-ResNet, recalled). On the digits they do not: an MLP on
    8x8 images shows no gap, whatever the labels. diagonal_linear.py is a small problem that does.
Set-up: digits.py, 640 steps, which are 10 epochs at batch 16 and 640 at batch 1024; ten seeds.
Variants: clean, noisy.
Expect: README.md has what was measured. A minute or two on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/sgd_noise/digits_steps.py --workdir=runs/steps
    python -m nfnets_jax.report sweep --workdir=runs/steps
"""

from experiments.sgd_noise import digits
from nfnets_jax import sweeps


def get_config(labels: str = "clean"):
    """The config of the runs; `labels` is clean or noisy."""
    config = digits.get_config(labels)
    config.num_epochs = None
    config.num_steps = 640
    return config


def get_sweep():
    """The runs: batch size by learning rate by seed."""
    return sweeps.product(
        {"batch_size": (16, 64, 256, 1024)},
        {"optimizer.learning_rate": sweeps.powers(2, -6, 4)},
        {"seed": range(10)})
