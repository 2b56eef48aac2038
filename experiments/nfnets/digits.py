"""A small NFNet on 8x8 digits: the recipe of imagenet.py from end to end on a laptop.

The same blocks, adaptive gradient clipping, mixup, CutMix and RandAugment, stochastic depth, the
average of the parameters and, with `sam`, sharpness-aware minimisation, on scikit-learn's digits.
Weaker than there, as befits 8 pixels and a batch of 128: one layer of RandAugment with shorter
shifts and holes, clipping at 0.08. A study of our own.

Expect: README.md has what `make claims STUDY=nfnets` measured, on two CPU cores.
Variants: plain (the default) or sam.

    python -m nfnets_jax.train --config=experiments/nfnets/digits.py --workdir=runs/digits_nfnet
"""

from experiments.digits import nf_resnet


def get_config(variant: str = "plain"):
    """The config of the run; `variant` is plain or sam."""
    if variant not in ("plain", "sam"):
        raise ValueError(f"{variant!r}: use plain or sam")
    config = nf_resnet.get_config("nfnet_digits")

    config.network.stochastic_depth_rate = 0.1
    config.augmentation.mixup_alpha = 0.2
    config.augmentation.cutmix = True
    config.augmentation.randaugment_layers = 1
    config.augmentation.randaugment_magnitude = 5
    config.augmentation.translate_pixels = 4.0
    config.augmentation.cutout_pixels = 2.0
    config.optimizer.agc_clipping = 0.08
    if variant == "sam":
        config.optimizer.sam_rho = 0.05
        config.optimizer.sam_fraction = 0.25
    config.num_epochs = 120.0
    config.ema_decay = 0.99999
    config.evaluate_every = 400
    config.checkpoint_every = 400
    return config
