"""NF-RegNets B0 to B5 on ImageNet: arXiv 2101.08692, the comparison with EfficientNet.

Reproduces: batch 1024, 360 epochs, each network at its own image sizes, dropout and weight decay;
    average of the parameters; half of each batch mixed by mixup, half by CutMix, without them
    `,plain`. All of it is in the authors' released configuration (the paper's appendix, as ported
    by others, has weight decays of about half: 2e-5, 2e-5, 3e-5, 4e-5, 4e-5, 5e-5).
Published top-1, read off a figure (+- 0.05), with mixing: B0 77.0, B1 78.7, B2 80.0, B3 81.2,
    B4 82.5, B5 83.0. Without: empty, not read.
Variants: nf_regnet_b0 to nf_regnet_b5, or NETWORK,plain. B6 to B8 are in the released code, not in
    the paper's tables; they take B5's weight decay.
Hardware: written for 8 or more accelerators; not run at this size by us, so no time is known.

    python -m nfnets_jax.train --config=experiments/nf_resnets/nf_regnet.py:nf_regnet_b0 \\
        --workdir=runs/imagenet_nf_regnet_b0

The same recipe on a laptop is digits_nf_regnet.py.
"""

from experiments.nf_resnets import imagenet

WEIGHT_DECAY = {"nf_regnet_b0": 5e-5, "nf_regnet_b1": 6e-5, "nf_regnet_b2": 7e-5,
                "nf_regnet_b3": 8e-5, "nf_regnet_b4": 9e-5}


def get_config(variant: str = "nf_regnet_b0"):
    """The config of the run; `variant` is NETWORK or NETWORK,plain."""
    network, _, option = variant.partition(",")
    if option not in ("", "plain"):
        raise ValueError(f"{variant!r}: use NETWORK or NETWORK,plain")
    config = imagenet.get_config(network)

    config.dataset.image_size = None  # the network's own, for training and for evaluation
    config.precision = "float32"

    config.num_epochs = 360.0
    config.ema_decay = 0.99999
    config.optimizer.learning_rate = 0.4
    config.optimizer.weight_decay = WEIGHT_DECAY.get(network, 1e-4)
    config.schedule.final_fraction = 0.0025  # a learning rate of 0.001
    if not option:
        config.augmentation.mixup_alpha = 0.2
        config.augmentation.cutmix = True
    return config
