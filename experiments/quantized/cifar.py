"""Four networks with binary convolutions on CIFAR, trained in five ways.

Reproduces: table 1 of arXiv 1706.02379, whose text could not be read. Recalled: ADAM at 0.01, a
    tenth of it from epoch 82 and again from epoch 122 of 160 on (200 is named, too), batches of
    128, of 1,024 for SR with large batches, padding and flips, no weight decay; all convolutions
    are binary, the first among them, and linear layers are not; R and SR start from random signs.
Published error: empty; no number could be read.
Variants: vgg9, vgg_bc, resnet56, wrn_56_2, and resnet56_cifar100.
Time: not run by us at this size; --dry_run estimates what it takes on a machine. The data have to
    be prepared first (the program says how). The laptop's version is digits.py.

    python -m nfnets_jax.sweep --config=experiments/quantized/cifar.py:vgg9 --workdir=runs/vgg9
    python -m experiments.quantized.report table --workdir=runs/vgg9
"""

from experiments.quantized import methods
from nfnets_jax.config import default_config

NETWORKS = {"vgg9": "vgg9", "vgg_bc": "vgg_bc", "resnet56": "bn_v1_cifar_resnet56",
            "wrn_56_2": "bn_v1_cifar_resnet56_2", "resnet56_cifar100": "bn_v1_cifar_resnet56"}
BATCH, BIG_BATCH = 128, 1024
STEPS_PER_EPOCH = 50_000 // BATCH


def get_config(variant: str = "vgg9"):
    """The config of the runs; `variant` is a key of `NETWORKS`."""
    if variant not in NETWORKS:
        raise ValueError(f"{variant!r}: use {', '.join(NETWORKS)}")
    config = default_config("classification")

    config.network.name = NETWORKS[variant]
    config.dataset.name = "cifar100" if variant.endswith("cifar100") else "cifar10"
    config.dataset.crop_padding = 4
    config.dataset.flip = True
    config.batch_size = BATCH
    config.evaluation_batch_size = 1000
    config.label_smoothing = 0.0

    config.num_epochs = 160.0
    config.step_rounding = "per_epoch"
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 0.01
    config.optimizer.weight_decay = 0.0
    config.schedule.name = "piecewise"
    config.schedule.drops = (82 / 160, 122 / 160)
    config.schedule.warmup_epochs = 0.0
    return config


def get_sweep():
    """The runs: the methods, one seed."""
    return methods.rows(BATCH, BIG_BATCH)
