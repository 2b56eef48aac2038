"""The autoencoders of the study: tied weights, ReLU, squared error summed over the pixels."""

from ml_collections import config_dict

from nfnets_jax.config import default_config

# How many of a run's evaluations there are; the last quarter of them is what tables show.
_NUM_EVALUATIONS = 60
# The norm of the gradient is measured at every third of them.
_PER_ANALYSIS = 3


def digits(hidden_layers: int, width: int, num_examples: int, num_steps: int,
           batch_size: int | None = None) -> config_dict.ConfigDict:
    """An autoencoder of 8x8 digits with a constant step size.

    Args:
      hidden_layers: 2 l - 1 of them for l matrices; odd.
      width: of all of them.
      num_examples: the first of the digits in the order of NumPy's `RandomState(0)`.
      num_steps: length of the run.
      batch_size: None for all examples in every step.
    """
    config = _autoencoder("digits_permuted", hidden_layers, width, num_steps)
    rest = num_examples - 1024
    config.dataset.train_split = (f"train[:{num_examples}]" if rest <= 0
                                  else f"train+test[:{rest}]")
    config.dataset.evaluation_split = "test[413:]"  # the last 360
    config.batch_size = batch_size or num_examples
    config.evaluation_batch_size = 360
    return config


def mnist(hidden_layers: int, width: int, image_size: int = 22, num_examples: int = 60_000,
          batch_size: int | None = None, num_steps: int = 40_000) -> config_dict.ConfigDict:
    """An autoencoder of resized MNIST digits with a constant step size, after the paper.

    Images of 22x22 pixels were recalled. How many examples a full batch has, and how long the runs
    are, is not known; the defaults are our choice.

    Args:
      hidden_layers, width, num_steps, batch_size: as for `digits`.
      image_size: pixels on a side.
      num_examples: the first of the training split.
    """
    config = _autoencoder("mnist", hidden_layers, width, num_steps)
    config.dataset.image_size = image_size
    config.dataset.train_split = f"train[:{num_examples}]"
    config.batch_size = batch_size or num_examples
    config.evaluation_batch_size = 1000
    return config


def _autoencoder(dataset, hidden_layers, width, num_steps):
    config = default_config("autoencoding")
    config.dataset.name = dataset
    config.loss = "squared"
    config.network.tied = True
    config.network.widths = (width,) * ((hidden_layers + 1) // 2)
    config.network.activation = "relu"
    config.num_steps = num_steps
    config.schedule.name = "constant"
    config.schedule.final_fraction = 1.0
    config.schedule.warmup_epochs = 0.0
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.log_every = 100
    config.evaluate_every = config.checkpoint_every = num_steps // _NUM_EVALUATIONS
    # For the norm of the gradient over all training examples; two products say no more.
    config.analysis.measures = ("curvature",)
    config.analysis.every = _PER_ANALYSIS * config.evaluate_every
    config.analysis.num_products = 2
    return config
