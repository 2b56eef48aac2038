"""A sweep of seconds: twelve runs of a small network in two programs."""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config


def get_config():
    """The config."""
    config = default_config("classification")
    config.network.name = "mlp"
    config.network.widths = (16,)
    config.dataset.name = "digits"
    config.batch_size = 32
    config.evaluation_batch_size = 720
    config.num_steps = 400
    config.evaluate_every = 100
    config.schedule.warmup_epochs = 0.0
    config.label_smoothing = 0.0
    return config


def get_sweep():
    """Two batch sizes, three learning rates, of which one diverges, two seeds."""
    return sweeps.product({"batch_size": (32, 64)}, {"optimizer.learning_rate": (0.01, 0.1, 1e30)},
                          {"seed": (0, 1)})
