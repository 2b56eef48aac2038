"""A small NF-RegNet on 8x8 digits: the recipe of nf_regnet.py from end to end on a laptop.

The same blocks (grouped convolutions, squeeze-and-excite, mean-pooled shortcuts, SiLU), mixup and
CutMix in halves of the batch, and the average of the parameters, on scikit-learn's digits. A study
of our own.

Expect: README.md has what `make claims STUDY=nf_resnets` measured, on two CPU cores.

    python -m nfnets_jax.train --config=experiments/nf_resnets/digits_nf_regnet.py \\
        --workdir=runs/digits_nf_regnet
"""

from experiments.digits import nf_resnet


def get_config():
    """The config of the run."""
    config = nf_resnet.get_config("nf_regnet_digits")

    config.network.stochastic_depth_rate = 0.1
    config.network.dropout_rate = 0.2
    config.augmentation.mixup_alpha = 0.2
    config.augmentation.cutmix = True
    config.schedule.final_fraction = 0.0025
    config.ema_decay = 0.99999
    return config
