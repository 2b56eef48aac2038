"""Wide-ResNets on CIFAR-10, with and without normalization: one run of arXiv 2002.10444.

Reproduces: the training protocol of SkipInit's CIFAR-10 studies as it was recalled, not read:
    200 epochs, batch 128, L2 5e-4, the learning rate constant for half of them and then halved
    every ten; He's initialisation; no biases in the convolutions of networks without norms.
Published accuracy: empty, the tables could not be read.
Variants: the name of any network for 32-pixel images. The learning rates, 2^-1 with batch
    normalization and 2^-2 without, are recalled for width 2, and chosen for the other networks;
    momentum 0.9 is chosen, and so is what the networks have beyond the above. Nothing was tuned.
Time: not measured; CIFAR-10 has to be prepared first (the program says how).

    python -m nfnets_jax.train --config=experiments/skipinit/wide_resnet.py:skipinit_wrn_16_4 \\
        --workdir=runs/cifar10_skipinit_wrn_16_4

The studies of depth and of batch sizes are wide_resnet_depth.py and wide_resnet_batch_size.py.
"""

from nfnets_jax.config import default_config


def get_config(network: str = "skipinit_wrn_16_4"):
    """The config of the run; `network` is a name of `nfnets_jax.nets.names()`."""
    config = default_config("classification")

    config.network.name = network
    if network.startswith(("bn_", "skipinit_")):
        config.network.weight_init = "he"  # the default of the others, where there is a choice

    config.dataset.name = "cifar10"
    config.dataset.crop_padding = 4
    config.dataset.flip = True
    config.batch_size = 128
    config.evaluation_batch_size = 1000

    config.num_epochs = 200.0
    config.optimizer.learning_rate = 0.5 if network.startswith("bn_") else 0.25
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 5e-4
    config.schedule.name = "halving"
    config.schedule.warmup_epochs = 0.0
    config.label_smoothing = 0.0

    config.log_every = 100
    config.evaluate_every = 3910  # ten epochs
    config.checkpoint_every = 391
    return config
