"""A run of seconds that the tests of the programs use: 45 steps of a very small network."""

from nfnets_jax.config import default_config


def get_config(network: str = "nf_resnet_digits"):
    """The config; `network` is any network for the digits."""
    config = default_config()
    config.network.name = network
    config.network.widths = (16, 32)
    config.network.depths = (1, 1)
    config.dataset.crop_padding = 1
    config.batch_size = 64
    config.evaluation_batch_size = 128
    config.num_epochs = 2.0
    config.schedule.warmup_epochs = 0.5
    config.optimizer.learning_rate = 0.1
    config.log_every = 5
    config.evaluate_every = 20
    config.checkpoint_every = 10
    return config
