"""A normalizer-free ResNet on scikit-learn's 8x8 digits.

The laptop's version of the NF-ResNets (arXiv 2101.08692): the same blocks, optimizer and schedule
on 1,437 images; the last 360 are the test set. A study of our own, not an experiment of the paper.

Expect: 98.1% test accuracy (mean of three seeds; `make claims STUDY=digits`), in about a minute on
    two CPU cores, compilation included.

    python -m nfnets_jax.train --config=experiments/digits/nf_resnet.py --workdir=runs/digits
"""

from nfnets_jax.config import default_config


def get_config(network: str = "nf_resnet_digits"):
    """The config of the run; `network` is a name of `nfnets_jax.nets.names()`."""
    config = default_config("classification")

    config.network.name = network

    config.dataset.name = "digits"
    config.dataset.crop_padding = 1
    config.batch_size = 128
    config.evaluation_batch_size = 360

    config.num_epochs = 60.0
    config.optimizer.learning_rate = 0.1
    config.optimizer.weight_decay = 5e-5
    config.schedule.warmup_epochs = 5.0
    config.label_smoothing = 0.1

    config.log_every = 50
    config.evaluate_every = 200
    config.checkpoint_every = 200
    return config
