"""Wide-ResNet-16-4 on CIFAR-10 at a constant number of epochs, batches of 16 to 8192.

Reproduces: the first experiment of arXiv 2006.15081, whose body could not be read. Recalled: 200
    epochs, batch sizes that are powers of 2 up to 8,192 or more, SGD and momentum 0.9, L2 5e-4,
    ghost batch norm over 64 images, a grid of learning rates by factors of 2, the rate held for
    half of the run and then halved every tenth of the rest, the best 12 of 15 seeds. Chosen: the
    smallest batch, the ends of the grid (`--extend=3` widens it where the best rate is at an end),
    biases in the convolutions of the network without norms, no decay of biases and norms.
Published accuracy: empty; no number could be read.
Variants: BLOCK or BLOCK,momentum, where BLOCK is bn (ghost batch norm) or skipinit (no norm).
Time: not run by us at this size. 1,650 runs for each variant; --dry_run estimates what they take
    on a machine. CIFAR-10 has to be prepared first (the program says how).

    python -m nfnets_jax.sweep --config=experiments/sgd_noise/wide_resnet.py:bn --extend=3 \\
        --best_k=12 --workdir=runs/wrn_bn
    python -m nfnets_jax.report sweep --workdir=runs/wrn_bn --best_k=12
"""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config

SEEDS = range(15)


def get_config(variant: str = "bn"):
    """The config of the runs; `variant` is bn or skipinit, alone or followed by ,momentum."""
    block, has_momentum = _parse(variant)
    config = default_config("classification")

    config.network.name = f"{block}_wrn_16_4"
    if block == "bn":
        config.network.norm = "ghost_batch"
        config.network.ghost_size = 64
    else:
        config.network.conv_bias = True

    config.dataset.name = "cifar10"
    config.dataset.crop_padding = 4
    config.dataset.flip = True
    config.batch_size = 64
    config.evaluation_batch_size = 1000
    config.label_smoothing = 0.0

    config.num_epochs = 200.0
    config.step_rounding = "per_epoch"
    config.optimizer.learning_rate = 0.125
    config.optimizer.momentum = 0.9 if has_momentum else 0.0
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 5e-4
    config.schedule.name = "halving"
    config.schedule.warmup_epochs = 0.0
    return config


def get_sweep(variant: str = "bn"):
    """The runs: batch size by learning rate by seed."""
    return sweeps.product(
        {"batch_size": tuple(2**k for k in range(4, 14))},
        {"optimizer.learning_rate": rates(variant)},
        {"seed": SEEDS})


def rates(variant: str) -> tuple[float, ...]:
    """The grid, for effective learning rates eps / (1 - m) of about 2^-6 to 2^4."""
    return sweeps.powers(2, -9, 1) if _parse(variant)[1] else sweeps.powers(2, -6, 4)


def _parse(variant: str) -> tuple[str, bool]:
    block, _, option = variant.partition(",")
    if block not in ("bn", "skipinit") or option not in ("", "momentum"):
        raise ValueError(f"{variant!r}: use bn or skipinit, alone or followed by ,momentum")
    return block, bool(option)
