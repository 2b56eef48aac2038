"""Convolutional networks on CIFAR-10 over depth, width, and with batch norm or skips or both.

Reproduces: figures 2, 3 and 4 of arXiv 1904.06963. CNN-b-l is the Wide-ResNet of depth b and width
    l without skips and batch norm. As read: 200 epochs of SGD without momentum and weight decay,
    batch 128, the learning rate divided by 10 at epochs 80 and 160 and tuned for each network on a
    grid by the training loss, He's initialisation, five seeds, and 100 pairs of batches of 128,
    whose gradients are compared after each epoch. From notes by others: the lists of depths.
    Recalled: crops with a padding of 4 and flips. Chosen: the grid, half decades from 0.001 to 10;
    no biases in convolutions.
Published: curves only. Deeper networks train slower and their smallest cosine is lower; wider ones
    the reverse. Skips and batch norm help alone, and only both together keep it up in depth.
Variants: depth, CNN-b-2 with b from 16 to 40 (figure 2); width, CNN-16-l with l from 2 to 6
    (figure 3); norm_and_skip, b from 16 to 100 with neither, either and both (figure 4).
Time: not run by us at this size; --dry_run estimates what it takes on a machine. CIFAR-10 has to
    be prepared first.

    python -m nfnets_jax.sweep --config=experiments/gradient_confusion/cifar10.py:depth \\
        --workdir=runs/confusion_depth
    python -m nfnets_jax.report gradient_confusion --workdir=runs/confusion_depth

The laptop's versions are teacher.py and digits_parity.py.
"""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config

DEPTHS = (16, 22, 28, 34, 40)
WIDTHS = (2, 3, 4, 5, 6)
DEEP = (16, 22, 28, 34, 40, 52, 76, 100)
RATES = sweeps.powers(10, -3, 1, per_step=2)


def get_config(variant: str = "depth"):
    """The config of the runs, of CNN-16-2."""
    _check(variant)
    config = default_config("classification")

    config.network.update(_network("plain", 16, 2, use_skip=False))
    config.dataset.name = "cifar10"
    config.dataset.crop_padding = 4
    config.dataset.flip = True
    config.batch_size = 128
    config.evaluation_batch_size = 1000
    config.label_smoothing = 0.0

    config.num_epochs = 200.0
    config.optimizer.momentum = 0.0
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 0.0
    config.schedule.name = "piecewise"
    config.schedule.drops = (0.4, 0.8)
    config.schedule.drop_factor = 0.1
    config.schedule.warmup_epochs = 0.0

    config.evaluate_every = 391  # an epoch
    config.checkpoint_every = 391
    config.analysis.measures = ("gradient_confusion",)
    config.analysis.every = 391
    return config


def get_sweep(variant: str = "depth"):
    """The runs: network by learning rate by seed."""
    _check(variant)
    networks = {
        "depth": [_network("plain", depth, 2, use_skip=False) for depth in DEPTHS],
        "width": [_network("plain", 16, width, use_skip=False) for width in WIDTHS],
        "norm_and_skip": [_network(block, depth, 2, use_skip) for block in ("plain", "bn")
                          for use_skip in (False, True) for depth in DEEP],
    }[variant]
    return sweeps.product(
        [{f"network.{field}": value for field, value in network.items()} for network in networks],
        {"optimizer.learning_rate": RATES}, {"seed": range(5)})


def _network(block: str, depth: int, width: int, use_skip: bool) -> dict:
    """The fields of a network whose weights all start as N(0, 2 / fan_in), the classifier's too."""
    return {"name": f"{block}_wrn_{depth}_{width}", "use_skip": use_skip, "weight_init": "he",
            "classifier_init_std": (2 / (64 * width)) ** 0.5,
            # Batch norm has offsets, and such convolutions have no biases anyway.
            "conv_bias": False if block == "plain" else None}


def _check(variant: str) -> None:
    if variant not in ("depth", "width", "norm_and_skip"):
        raise ValueError(f"{variant!r}: use depth, width or norm_and_skip")
