"""ADAM with beta1 = 0.9 and 0.99 and NAG on VGG-9, batches of 100, weight decay 1e-5.

Variants
    cifar10    VGG-9 on CIFAR-10: the figure of the paper (recalled; the length of the runs and that
               images are not augmented are our choice). Not run.
    digits     a small network of the same kind on 8x8 digits

    python -m nfnets_jax.sweep --config=experiments/adaptive_optimizers/vgg9.py:digits \\
        --workdir=runs/vgg9
    python -m experiments.adaptive_optimizers.table --workdir=runs/vgg9

Expect: README.md has the table.
"""

from experiments.adaptive_optimizers import methods
from nfnets_jax import sweeps
from nfnets_jax.config import default_config


def get_config(variant: str = "cifar10"):
    """The config of the runs."""
    if variant not in ("cifar10", "digits"):
        raise ValueError(f"{variant!r}: use cifar10 or digits")
    config = default_config("classification")
    config.dataset.name = variant
    config.network.name = "vgg9" if variant == "cifar10" else "vgg_digits"
    config.batch_size = 100
    config.evaluation_batch_size = 1000
    config.num_epochs = 100.0 if variant == "cifar10" else 20.0
    config.label_smoothing = 0.0
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 1e-5
    config.schedule.name = "constant"
    config.schedule.final_fraction = 1.0
    config.schedule.warmup_epochs = 0.0
    config.evaluate_every = config.checkpoint_every = 2500 if variant == "cifar10" else 14
    return config


def get_sweep(variant: str = "cifar10"):
    """The runs: optimizer and step size by seed."""
    if variant == "cifar10":
        return sweeps.product(methods.recalled_grids(), {methods.SEED: range(3)})
    rates = (1e-3, 3e-3, 1e-2)
    return sweeps.product(
        methods.grid((methods.nag(0.9), (1e-2, 3e-2, 1e-1)), (methods.nag(0.99), rates),
                      (methods.adam(0.9), rates), (methods.adam(0.99), rates)),
        {methods.SEED: (0, 1)})
