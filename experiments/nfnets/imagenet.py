"""NFNets F0 to F7 on ImageNet: arXiv 2102.06171.

Reproduces: batch 4096, 360 epochs, adaptive gradient clipping at 0.01, average of the parameters,
    mixup and CutMix in halves of the batch and then four layers of RandAugment (magnitude 5 for F0,
    10 for F1 and F2, 15 from F3 on), stochastic depth 0.25, each network at its own image sizes and
    dropout: the authors' released configuration. `,sam` adds sharpness-aware minimisation, as the
    published F6 was trained; its radius 0.05 and the fifth of the batch that it ascends on are
    recalled.
Published top-1 / top-5 (authors' README): F0 83.6 / 96.8, F1 84.7 / 97.1, F2 85.1 / 97.3,
    F3 85.7 / 97.5, F4 85.9 / 97.6, F5 86.0 / 97.6, F6 with SAM 86.5 / 97.9. F7: none.
Published time of one training step on TPUv3 (same source, number of cores not said): F0 73.3 ms,
    F1 158.5, F2 295.8, F3 532.2, F4 1033.3, F5 1398.5, F6 with SAM 2774.1.
Variants: nfnet_f0 to nfnet_f7 and nfnet_f0+ to nfnet_f7+, or NETWORK,sam.
Hardware: a TPU pod slice; not run at this size by us.

    python -m nfnets_jax.train --config=experiments/nfnets/imagenet.py:nfnet_f0 \\
        --workdir=runs/imagenet_nfnet_f0

The same recipe on a laptop is digits.py.
"""

from nfnets_jax.config import default_config

_RANDAUGMENT_MAGNITUDE = (5, 10, 10, 15, 15, 15, 15, 15)


def get_config(variant: str = "nfnet_f0"):
    """The config of the run; `variant` is NETWORK or NETWORK,sam."""
    network, _, option = variant.partition(",")
    level = network.removeprefix("nfnet_f").removesuffix("+")
    if level not in set("01234567") or option not in ("", "sam"):
        raise ValueError(f"{variant!r}: use nfnet_f0 to nfnet_f7, with or without + and ,sam")
    config = default_config("classification")

    config.network.name = network

    config.dataset.name = "imagenet2012"
    config.dataset.evaluation_split = "valid"
    config.dataset.evaluation_crop = "resize_crop"
    config.dataset.random_resized_crop = True
    config.dataset.flip = True
    config.dataset.loader_threads = 64
    config.augmentation.mixup_alpha = 0.2
    config.augmentation.cutmix = True
    config.augmentation.randaugment_layers = 4
    config.augmentation.randaugment_magnitude = _RANDAUGMENT_MAGNITUDE[int(level)]
    config.batch_size = 4096
    config.evaluation_batch_size = 1024
    config.precision = "bfloat16"

    config.num_epochs = 360.0
    config.optimizer.learning_rate = 1.6  # 0.1 for each 256 images of the batch
    config.optimizer.weight_decay = 2e-5
    config.optimizer.agc_clipping = 0.01
    if option:
        config.optimizer.sam_rho = 0.05
        config.optimizer.sam_fraction = 0.2
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 5.0
    config.label_smoothing = 0.1
    config.ema_decay = 0.99999

    config.log_every = 100
    config.evaluate_every = 3120
    config.checkpoint_every = 500
    return config
