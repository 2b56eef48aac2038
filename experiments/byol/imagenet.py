"""BYOL on ImageNet, with and without batch statistics: arXiv 2006.07733 and 2010.10241.

Batch 4096, LARS with 10 epochs of warm-up and a cosine, momentum target, two views with the
released augmentation; learning rate, weight decay and target decay for 40, 100, 300 and 1000
epochs as in the authors' released configuration. Projections of 256 through 4096 hidden units.
Published top-1 of linear evaluation: README.md, with what was read and what was not.
Variants: EPOCHS,NORMS then, if wanted, BATCH and NETWORK, as in 1000,group_ws,4096,resnet50.
    EPOCHS     40, 100, 300 or 1000
    NORMS      of encoder/projector/predictor, or one for all three:
               batch, layer, group, instance (encoder only), none, calibrated; each with _ws for
               weight standardization. simclr:NORMS for SimCLR's loss on the same networks.
    BATCH      4096 (the default), 2048, ... 64
    NETWORK    resnet50 (the default), resnet101, resnet152, resnet200, with x2 or x4 behind it
group_ws (16 groups) has a base learning rate of 0.24 and a weight decay of 5e-8, recalled with low
confidence; all other norms keep the vanilla preset, which is our choice.
Hardware: the released run of 1000 epochs took about 8 hours on 512 TPUv3 cores; not run by us.

    python -m nfnets_jax.train --config=experiments/byol/imagenet.py:1000,group_ws \\
        --workdir=runs/byol_imagenet

On fewer devices add --config.accumulation_steps=K: K slices of the batch, one after the other.
The same on a laptop is digits.py; linear.py and finetune.py evaluate the encoder.
"""

import re

from nfnets_jax import nets
from nfnets_jax.config import default_config

# Epochs -> base learning rate, weight decay, target decay.
PRESETS = {40: (0.45, 1e-6, 0.97), 100: (0.45, 1e-6, 0.99), 300: (0.3, 1e-6, 0.99),
           1000: (0.2, 1.5e-6, 0.996)}
BATCHES = tuple(64 * 2**k for k in range(7))
PARTS = ("network", "projector", "predictor")


def get_config(variant: str = "1000,batch"):
    """The config of the run; see above for `variant`."""
    given, defaults = variant.split(","), ["1000", "batch", "4096", "resnet50"]
    epochs, norms, batch, network = [*given, *defaults[len(given):]][:4]
    objective, _, names = norms.rpartition(":")
    names = names.split("/")
    names = names * 3 if len(names) == 1 else names
    found = re.fullmatch(r"(resnet(?:50|101|152|200))(?:x(2|4))?", network)
    allowed = {norm + suffix for norm in nets.NORMS for suffix in ("", "_ws")}
    if (not epochs.isdecimal() or int(epochs) not in PRESETS or not batch.isdecimal()
            or int(batch) not in BATCHES or found is None or len(names) != 3
            or not set(names) <= allowed or objective not in ("", "simclr")):
        raise ValueError(f"{variant!r}: use EPOCHS,NORMS,BATCH,NETWORK such as 1000,batch or "
                         "300,batch/none/none,256 or 1000,group_ws,4096,resnet200x2")
    config = default_config("byol")

    width = int(found[2] or 1)
    config.network.name = f"bn_v1_{found[1]}"
    config.network.widths = tuple(width * channels for channels in (256, 512, 1024, 2048))
    config.network.stem_width = width * 64
    for part, norm in zip(PARTS, names, strict=True):
        config[part].norm = norm.removesuffix("_ws")
        config[part].num_groups = 16
        config[part].weight_standardization = norm.endswith("_ws")

    config.dataset.name = "imagenet2012"
    config.dataset.evaluation_split = "valid"
    config.dataset.loader_threads = 64
    config.batch_size = int(batch)
    config.evaluation_batch_size = 1024
    config.precision = "bfloat16"

    config.num_epochs = float(epochs)
    learning_rate, weight_decay, decay = PRESETS[int(epochs)]
    if names == ["group_ws"] * 3:
        learning_rate, weight_decay = 0.24, 5e-8
    config.optimizer.base_learning_rate = learning_rate
    config.optimizer.weight_decay = weight_decay
    config.target.decay = decay
    config.schedule.warmup_epochs = 10.0
    if objective:
        config.objective.name = objective
    config.probe.neighbours = 200

    config.log_every = 100
    config.evaluate_every = 5000
    config.checkpoint_every = 1000
    return config
