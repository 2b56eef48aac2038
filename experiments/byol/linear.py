"""Linear evaluation of a pretrained encoder by the protocol of arXiv 2006.07733.

The encoder is frozen; SGD with Nesterov momentum 0.9 and a cosine schedule trains one linear
classifier for each of five learning rates at once, on crops and flips, 80 epochs, batch 1024. The
best on a held-out part of the training images is evaluated once on the test images. (Learning
rates and batch size as recalled; 80 epochs and the held-out 10,000 as in the released code.)
Variants: imagenet (the default) or digits, whose crops are those of digits.py and which takes a
    minute.

    python -m nfnets_jax.train --config=experiments/byol/linear.py:digits \\
        --config.pretrained.workdir=runs/byol --workdir=runs/byol_linear

With published weights instead of a run of ours:

    python -m nfnets_jax.train --config=experiments/byol/linear.py \\
        --config.network.name=bn_v1_resnet50 --config.pretrained.weights=pretrain_res50x1.pkl \\
        --workdir=runs/byol_linear
"""

from nfnets_jax.config import default_config


def get_config(variant: str = "imagenet"):
    """The config of the run; `variant` is imagenet or digits."""
    if variant not in ("imagenet", "digits"):
        raise ValueError(f"{variant!r}: use imagenet or digits")
    config = default_config("linear_evaluation")
    config.evaluate_every = 1000
    if variant == "imagenet":
        config.dataset.name = "imagenet2012"
        config.dataset.evaluation_split = "valid"
        config.dataset.loader_threads = 64
        config.precision = "bfloat16"
        config.checkpoint_every = 1000
        return config

    config.dataset.name = "digits"
    config.dataset.image_size = 12
    config.dataset.train_split = "train[:80%]"
    config.dataset.evaluation_split = "train[80%:]"
    config.augmentation.crop_on = "device"
    config.augmentation.crop_min_area = 0.6
    config.augmentation.flip = False
    config.batch_size = 128
    config.evaluation_batch_size = 360
    config.optimizer.base_learning_rates = (20.0, 8.0, 3.0, 1.0, 0.4)
    config.evaluate_every = 300
    return config
