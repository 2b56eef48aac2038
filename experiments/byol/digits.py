"""BYOL with and without batch statistics, on 8x8 digits in about a minute.

A study of our own in the shape of arXiv 2010.10241: the same hyper-parameters for every variant,
chosen with group norm and weight standardization on seed 0; nothing here is the paper's but the
method. A small post-activation ResNet on 12 x 12 pixels, batch 128, LARS.

Variants, as NORM or ENCODER,PROJECTOR,PREDICTOR, each of
    batch, layer, group, none, calibrated    a norm, or its absence; `calibrated` is none that
                                             starts as batch norm would (see `nets.make_norm`)
    group_ws, none_ws                        the same with weight standardization
or simclr:NORM for SimCLR's loss. With `none` the run collapses within 30 steps, and says so.
Expect: README.md has what `make claims STUDY=byol` measured, on two CPU cores.

    python -m nfnets_jax.train --config=experiments/byol/digits.py:group_ws --workdir=runs/byol
"""

from nfnets_jax.config import default_config

PARTS = ("network", "projector", "predictor")
NORMS = ("batch", "layer", "group", "none", "calibrated")


def get_config(variant: str = "group_ws"):
    """The config of the run; see above for `variant`."""
    objective, _, norms = variant.rpartition(":")
    norms = norms.split(",")
    norms = norms * 3 if len(norms) == 1 else norms
    known = {name + suffix for name in NORMS for suffix in ("", "_ws")}
    if len(norms) != 3 or not set(norms) <= known or objective not in ("", "simclr"):
        raise ValueError(f"{variant!r}: use NORM or ENCODER,PROJECTOR,PREDICTOR or simclr:NORM, "
                         f"each of {', '.join(sorted(known))}")
    config = default_config("byol")

    config.network.name = "bn_v1_resnet_digits"
    config.network.widths = (16, 32, 64)
    config.network.depths = (1, 1, 1)
    config.network.strides = (1, 2, 2)
    config.network.stem_width = 16
    config.projector.hidden_size = config.predictor.hidden_size = 128
    config.projector.output_size = 32
    for part, norm in zip(PARTS, norms, strict=True):
        config[part].norm = norm.removesuffix("_ws")
        config[part].num_groups = 8
        config[part].weight_standardization = norm.endswith("_ws")

    config.dataset.name = "digits"
    config.dataset.image_size = 12
    config.augmentation.crop_on = "device"
    config.augmentation.crop_min_area = 0.6
    for view in (config.augmentation.view_1, config.augmentation.view_2):
        view.flip_probability = 0.0
        view.brightness = 0.2
        view.blur_probability = 0.5
        view.blur_sigma_max = 1.0
        view.blur_kernel_fraction = 0.6
        view.solarize_probability = 0.0

    config.num_epochs = 107.0
    config.batch_size = 128
    config.evaluation_batch_size = 360
    config.optimizer.base_learning_rate = 0.2
    config.optimizer.trust_coefficient = 0.02
    config.optimizer.predictor_multiplier = 5.0
    config.optimizer.weight_decay = 1e-6
    config.target.decay = 0.99
    config.schedule.warmup_epochs = 5.35
    if objective:
        config.objective.name = objective
        config.objective.temperature = 0.2

    config.log_every = 50
    config.evaluate_every = 200
    config.checkpoint_every = 200
    return config
