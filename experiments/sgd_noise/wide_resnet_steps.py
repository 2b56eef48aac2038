"""Wide-ResNet-16-4 on CIFAR-10 at a constant number of steps, batches of 1,024 and more.

Reproduces: arXiv 2006.15081's comparison at equal steps, whose numbers could not be read. Recalled:
    9,765 steps, which are 200 epochs at batch 1,024; larger batches make more epochs. Chosen:
    16,384 as the largest batch. Claimed (abstract): very large batches end with a smaller training
    loss and a worse test accuracy.
Published accuracy: empty.
Variants and the other settings: those of wide_resnet.py.
Time: not run by us at this size; a batch of 16,384 may need --config.accumulation_steps=4.

    python -m nfnets_jax.sweep --config=experiments/sgd_noise/wide_resnet_steps.py:bn --extend=3 \\
        --best_k=12 --workdir=runs/wrn_steps
    python -m nfnets_jax.report sweep --workdir=runs/wrn_steps --best_k=12
"""

from experiments.sgd_noise import wide_resnet
from nfnets_jax import sweeps


def get_config(variant: str = "bn"):
    """The config of the runs; `variant` is that of wide_resnet.py."""
    config = wide_resnet.get_config(variant)
    config.batch_size = 1024
    config.num_epochs = None
    config.num_steps = 9765
    config.evaluate_every = 480
    return config


def get_sweep(variant: str = "bn"):
    """The runs: batch size by learning rate by seed."""
    return sweeps.product(
        {"batch_size": (1024, 2048, 4096, 8192, 16384)},
        {"optimizer.learning_rate": wide_resnet.rates(variant)},
        {"seed": wide_resnet.SEEDS})
