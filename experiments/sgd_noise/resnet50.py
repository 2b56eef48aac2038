"""ResNet-50 on ImageNet at a constant number of epochs, batches of 256 to 16,384.

Reproduces: arXiv 2006.15081's ResNet-50, whose settings and numbers could not be read. Recalled:
    90 epochs, L2 1e-4, ghost batch norm over at most 256 images, momentum, hold and halve. Chosen:
    groups of 32, the batch sizes, the learning rates, three seeds, no warm-up, no label smoothing.
Published accuracy: empty.
Variants: momentum, sgd.
Hardware: written for 8 or more accelerators, all of which share the batch of one run; not run by
    us. ImageNet has to be prepared first (the program says how).

    python -m nfnets_jax.sweep --config=experiments/sgd_noise/resnet50.py --devices_per_member=8 \\
        --members=1 --workdir=runs/resnet50
    python -m nfnets_jax.report sweep --workdir=runs/resnet50
"""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config


def get_config(optimizer: str = "momentum"):
    """The config of the runs; `optimizer` is momentum or sgd."""
    if optimizer not in ("momentum", "sgd"):
        raise ValueError(f"{optimizer!r}: use momentum or sgd")
    config = default_config("classification")

    config.network.name = "bn_resnet50"
    config.network.norm = "ghost_batch"
    # A group is of one device: eight devices have at most 32 images each of a batch of 256.
    config.network.ghost_size = 32

    config.dataset.name = "imagenet2012"
    config.dataset.image_size = 224
    config.dataset.random_resized_crop = True
    config.dataset.flip = True
    config.dataset.loader_threads = 64
    config.batch_size = 256
    config.evaluation_batch_size = 1024
    config.precision = "bfloat16"
    config.label_smoothing = 0.0

    config.num_epochs = 90.0
    config.optimizer.learning_rate = 0.1
    config.optimizer.momentum = 0.9 if optimizer == "momentum" else 0.0
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 1e-4
    config.schedule.name = "halving"
    config.schedule.warmup_epochs = 0.0
    return config


def get_sweep(optimizer: str = "momentum"):
    """The runs: batch size by learning rate by seed."""
    rates = sweeps.powers(2, -5, 3) if optimizer == "momentum" else sweeps.powers(2, -2, 6)
    return sweeps.product(
        {"batch_size": tuple(2**k for k in range(8, 15))},
        {"optimizer.learning_rate": rates},
        {"seed": range(3)})
