"""Fine-tuning of a pretrained encoder on 1% or 10% of the labels (arXiv 2006.07733).

All parameters are trained, from the encoder of --config.pretrained.workdir: SGD with Nesterov
momentum 0.9, no weight decay, batch 1024, crops and flips. The protocol searches learning rates
0.01, 0.02, 0.05, 0.1, 0.005 and 30 or 50 epochs on a held-out set (recalled); this is one cell of
it. The subset is the first part of the data set as TFDS writes it, shuffled, not the list of
images that the paper used.
Variants: imagenet or digits, then 1pct, 10pct or 100pct, as in imagenet,1pct (the default).

    python -m nfnets_jax.train --config=experiments/byol/finetune.py:digits,10pct \\
        --config.pretrained.workdir=runs/byol --workdir=runs/byol_finetuned

Without pretraining, for comparison: --config.pretrained.workdir= --config.network.name=NETWORK.
"""

from nfnets_jax.config import default_config

_SHARES = ("1pct", "10pct", "100pct")


def get_config(variant: str = "imagenet,1pct"):
    """The config of the run; see above for `variant`."""
    dataset, _, share = variant.partition(",")
    if dataset not in ("imagenet", "digits") or share not in _SHARES:
        raise ValueError(f"{variant!r}: use imagenet or digits, a comma, and {', '.join(_SHARES)}")
    config = default_config("classification")
    percent = share.removesuffix("pct")

    config.network.name = "pretrained"
    config.label_smoothing = 0.0
    config.optimizer.weight_decay = 0.0
    config.schedule.warmup_epochs = 0.0
    if dataset == "imagenet":
        config.dataset.name = "imagenet2012"
        config.dataset.train_split = f"train[:{percent}%]"
        config.dataset.evaluation_split = "test"
        config.dataset.random_resized_crop = True
        config.dataset.flip = True
        config.dataset.loader_threads = 64
        config.num_epochs = 50.0
        config.batch_size = 1024
        config.optimizer.learning_rate = 0.02
        config.precision = "bfloat16"
        config.checkpoint_every = 500
        return config

    config.dataset.name = "digits"
    config.dataset.image_size = 12
    config.dataset.train_split = f"train[:{percent}%]"
    config.dataset.crop_padding = 1
    config.num_epochs = {"1": 100.0, "10": 50.0, "100": 20.0}[percent]
    config.batch_size = {"1": 14, "10": 32, "100": 128}[percent]
    config.evaluation_batch_size = 360
    config.optimizer.learning_rate = 0.05
    return config
