"""SGD on a quadratic with the noise of minibatches: both regimes of the batch size, exactly.

The model of arXiv 1907.04164 in 100 dimensions, with curvatures and noise variances 1/i, and a
learning rate that is held for half of the run and then halved, as arXiv 2006.15081 was recalled.
The state is the second moment of the position, so that the loss is the mean over all seeds. A study
of our own: with small batches the best learning rate grows as the batch, with large ones it stays
at 2, the largest at which the steepest direction does not diverge. The config's is the best for its
batch, 32, on a grid of quarter octaves.

Variants: expected, the exact mean over seeds; sampled, one seed.
Expect: a final loss of 0.0169, in a few seconds on a laptop. The sweep, 8 and 32 epochs of batches
    of 4 to 1024 with SGD and heavy ball, takes about a minute; README.md has its table.

    python -m nfnets_jax.train --config=experiments/sgd_noise/noisy_quadratic.py --workdir=runs/nqm
    python -m nfnets_jax.sweep --config=experiments/sgd_noise/noisy_quadratic.py \\
        --workdir=runs/nqm_sweep
    python -m nfnets_jax.report sweep --workdir=runs/nqm_sweep
"""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config

# Quarter octaves: the losses are exact, so that even neighbours differ.
RATES = sweeps.powers(2, -9, 2, per_step=4)


def get_config(mode: str = "expected"):
    """The config of the run; `mode` is expected or sampled."""
    config = default_config("noisy_quadratic")

    config.mode = mode
    config.num_dimensions = 100
    config.curvature_exponent = 1.0
    config.noise_exponent = 1.0
    config.start = 1.0

    config.batch_size = 32
    config.examples_per_epoch = 1024
    config.num_epochs = 8.0
    config.optimizer.learning_rate = 2**0.75
    config.optimizer.momentum = 0.0
    config.schedule.name = "halving"

    config.log_every = 32
    config.evaluate_every = 32
    config.checkpoint_every = 128
    return config


def get_sweep():
    """The runs: epochs by batch size by momentum by learning rate."""
    return sweeps.product(
        {"num_epochs": (8.0, 32.0)},
        {"batch_size": tuple(2**k for k in range(2, 11))},
        {"optimizer.momentum": (0.0, 0.9)},
        {"optimizer.learning_rate": RATES})
