"""Sparse regression with a diagonal linear network: small batches find the better solution.

40 examples in 100 dimensions, a truth with 5 entries of +-1, 5,000 steps of constant learning rate
whatever the batch: the small problem in which large batches lose at the same number of steps, as
arXiv 2006.15081 claims for networks. A study of our own; the config's batch size is 1, 40 is the
full batch.

Expect: a training loss near 0 and a test error that depends much on the seed, in a few seconds on
    a laptop.

    python -m nfnets_jax.train --config=experiments/sgd_noise/diagonal_linear.py --workdir=runs/dln
"""

from nfnets_jax.config import default_config


def get_config():
    """The config of the run."""
    config = default_config("diagonal_linear")

    config.num_examples = 40
    config.num_dimensions = 100
    config.num_nonzero = 5
    config.start = 0.1

    config.batch_size = 1
    config.num_steps = 5000
    config.optimizer.learning_rate = 2**-4
    config.optimizer.momentum = 0.0
    config.schedule.name = "constant"
    config.schedule.final_fraction = 1.0

    config.log_every = 500
    config.evaluate_every = 500
    config.checkpoint_every = 500
    return config
