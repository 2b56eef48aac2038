"""Deep autoencoders, trained with SGD and momentum.

Variants
    mnist     784-1000-500-250-30 and its mirror, logistic units and cross-entropy, on MNIST: the
              benchmark after Hinton and Salakhutdinov (2006), which arXiv 2006.15081 was recalled
              to use. Its hyper-parameters are our choice. Not run.
    digits    64-128-64-16 and its mirror, ReLU and squared error, on scikit-learn's 8x8 digits.

Expect: digits, a squared error of 0.57 for each test image (seed 0; 16 principal components leave
    0.69, the mean image 4.18), in less than half a minute on two CPU cores. The network of mnist
    was tried on digits enlarged to 28x28: the loss stays at that of the mean image for 100 to 150
    steps before it falls.

    python -m nfnets_jax.train --config=experiments/sgd_noise/autoencoder.py:digits \\
        --workdir=runs/autoencoder

The sweep is over batch sizes at a constant number of epochs, with SGD and momentum; its grids are
chosen. That of digits takes three minutes on two shared CPU cores; README.md has its table. That
of mnist was not run.

    python -m nfnets_jax.sweep --config=experiments/sgd_noise/autoencoder.py:digits \\
        --workdir=runs/autoencoder_sweep
    python -m nfnets_jax.report sweep --workdir=runs/autoencoder_sweep
"""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config


def get_config(variant: str = "mnist"):
    """The config of the run; `variant` is mnist or digits."""
    if variant not in ("mnist", "digits"):
        raise ValueError(f"{variant!r}: use mnist or digits")
    config = default_config("autoencoding")

    config.dataset.name = variant
    config.loss = "cross_entropy"
    config.network.tied = False
    config.network.widths = (1000, 500, 250, 30)
    config.network.activation = "sigmoid"
    config.batch_size = 256
    config.evaluation_batch_size = 1000
    config.num_epochs = 200.0
    config.optimizer.learning_rate = 0.003
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = False
    config.schedule.name = "halving"
    config.schedule.warmup_epochs = 0.0
    config.log_every = 100
    config.evaluate_every = 2000
    config.checkpoint_every = 2000
    if variant == "digits":
        config.loss = "squared"
        config.network.widths = (128, 64, 16)
        config.network.activation = "relu"
        config.batch_size = 32
        config.evaluation_batch_size = 360
        config.num_epochs = 60.0
        config.optimizer.learning_rate = 0.01
        config.evaluate_every = config.checkpoint_every = 500
    return config


def get_sweep(variant: str = "mnist"):
    """The runs: batch size by momentum and learning rate by seed."""
    if variant == "digits":
        batch_sizes, highest, seeds = (8, 32, 128, 512), 0, range(3)
    else:
        batch_sizes, highest, seeds = tuple(2**k for k in range(4, 14)), 2, range(15)
    rates = [(0.0, rate) for rate in sweeps.powers(2, highest - 8, highest)]
    rates += [(0.9, rate) for rate in sweeps.powers(2, highest - 11, highest - 3)]
    return sweeps.product(
        {"batch_size": batch_sizes},
        [{"optimizer.momentum": momentum, "optimizer.learning_rate": rate}
         for momentum, rate in rates],
        {"seed": seeds})
