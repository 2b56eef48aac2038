"""Linear regression with more parameters than examples, and with fewer: figure 1's toy problem.

Reproduces: figure 1 of arXiv 1904.06963, as read: 100 Gaussian examples of 120 or 80 dimensions,
    SGD with batch 1, cosines between the gradients of all pairs of examples, three runs. Chosen:
    labels from N(0, 1), learning rate 0.002, 40,000 steps, which are 400 epochs, ten runs.
Published: curves only; with 120 dimensions the loss falls much faster and confusion is less.
Expect: at the end a loss of 0.0014 with 120 dimensions and 0.1 with 80, whose gradients are also
    more opposed; README.md has what was measured. Some seconds on a laptop.

    python -m nfnets_jax.sweep --config=experiments/gradient_confusion/toy_regression.py \\
        --workdir=runs/toy_regression
    python -m nfnets_jax.report gradient_confusion --workdir=runs/toy_regression
"""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config


def get_config():
    """The config of the runs, of 120 dimensions."""
    config = default_config("linear_model")

    config.num_examples = 100
    config.num_dimensions = 120
    config.inputs = "gaussian"
    config.loss = "squared"

    config.batch_size = 1
    config.num_steps = 40_000
    config.optimizer.learning_rate = 2e-3
    config.schedule.name = "constant"
    config.schedule.final_fraction = 1.0

    config.evaluate_every = 2000
    config.checkpoint_every = 20_000
    config.analysis.measures = ("gradient_confusion",)
    config.analysis.gradients = "examples"
    return config


def get_sweep():
    """The runs: dimension by seed."""
    return sweeps.product({"num_dimensions": (120, 80)}, {"seed": range(10)})
