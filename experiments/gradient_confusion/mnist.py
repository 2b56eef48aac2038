"""Fully connected networks on MNIST, over depth and over width: an appendix, its set-up our choice.

Reproduces: that arXiv 1904.06963 reports, in an appendix which could not be read, the same order as
    on CIFAR-10 for fully connected networks on MNIST. Chosen: ReLU networks of 2 to 32 hidden
    layers of 100 units and of 16 layers of 50 to 400 units, 40 epochs, and all that follows
    cifar10.py.
Published: nothing that could be read.
Variants: depth, width.
Time: not run by us. MNIST has to be prepared first.

    python -m nfnets_jax.sweep --config=experiments/gradient_confusion/mnist.py:depth \\
        --workdir=runs/confusion_mnist_depth
    python -m nfnets_jax.report gradient_confusion --workdir=runs/confusion_mnist_depth
"""

from experiments.gradient_confusion import cifar10
from nfnets_jax import sweeps

HIDDEN = {"depth": [(100,) * depth for depth in (2, 4, 8, 16, 32)],
          "width": [(width,) * 16 for width in (50, 100, 200, 400)]}


def get_config(variant: str = "depth"):
    """The config of the runs, of the first network."""
    config = cifar10.get_config(variant)
    config.network.update({"name": "mlp", "widths": HIDDEN[variant][0], "weight_init": "he",
                           "classifier_init": "he", "classifier_init_std": None, "use_skip": None,
                           "conv_bias": None})
    config.dataset.name = "mnist"
    config.dataset.crop_padding = 0
    config.dataset.flip = False
    config.num_epochs = 40.0
    config.evaluate_every = config.checkpoint_every = config.analysis.every = 469  # an epoch
    return config


def get_sweep(variant: str = "depth"):
    """The runs: network by learning rate by seed."""
    return sweeps.product({"network.widths": HIDDEN[variant]},
                          {"optimizer.learning_rate": cifar10.RATES}, {"seed": range(5)})
