"""LSTM language models, for the study of noise in SGD (arXiv 2006.15081, its word-level LSTM).

Variants:
    pydoc           the laptop's version: one layer of 128 units on the characters of CPython's help
                    texts (419,000 for training), which need no download. A model of our own.
    penn_treebank   two layers of 650 units on 10,000 words. The sizes, dropout, T = 35, B = 20 and
                    the clipping are those of the medium model of Zaremba et al. (2014), recalled;
                    what the paper itself trained could not be read. Learning rate 1 and norm 5
                    belong to a loss that is summed over T and are given for its mean here; after
                    six epochs of 39 that recipe divides the rate by a constant at each epoch,
                    this one halves it by the rule of the study.
                    The three files have to be prepared first (the program says how).
Expect (pydoc): perplexity 3.9 to 4.0 a character on the validation split and 3.3 on the test split,
    in about 80 s on two CPU cores shared with other work, compilation included (two seeds, the
    texts of Python 3.11; those of other versions differ).
penn_treebank: not run by us, so neither its time nor its perplexity is known.

    python -m nfnets_jax.train --config=experiments/sgd_noise/language_model.py:pydoc \\
        --workdir=runs/language_model

The sweep is over batch sizes at a constant number of epochs; its grids are chosen. That of pydoc is
cut down, one epoch of 64 units, and takes about ten minutes on two CPU cores shared with other
work; README.md has its table. That of penn_treebank was not run.

    python -m nfnets_jax.sweep --config=experiments/sgd_noise/language_model.py:pydoc \\
        --workdir=runs/language_model_sweep
    python -m nfnets_jax.report sweep --workdir=runs/language_model_sweep --select_on=test_loss

The loss is in nats per token, and evaluations start each window of `evaluation_sequence_length`
tokens with an empty memory, so that their perplexity is a little above that of one long pass.
"""

from nfnets_jax import sweeps
from nfnets_jax.config import default_config


def get_config(variant: str = "pydoc"):
    """The config of the run; `variant` is pydoc or penn_treebank."""
    if variant not in ("pydoc", "penn_treebank"):
        raise ValueError(f"{variant!r}: use pydoc or penn_treebank")
    config = default_config("language_modeling")
    config.schedule.name = "halving"

    if variant == "pydoc":
        config.dataset.name = "pydoc_topics"
        config.dataset.level = "character"
        config.network.hidden_size = 128
        config.network.num_layers = 1
        config.network.init_scale = 0.1
        config.batch_size = 32
        config.sequence_length = 32
        config.evaluation_batch_size = 32
        config.num_epochs = 5.0
        config.optimizer.learning_rate = 16.0
        config.optimizer.max_gradient_norm = 1.0
        config.log_every = 100
        config.evaluate_every = 500
        config.checkpoint_every = 500
        return config

    config.dataset.name = "penn_treebank"
    config.network.hidden_size = 650
    config.network.num_layers = 2
    config.network.dropout_rate = 0.5
    config.network.init_scale = 0.05
    config.batch_size = 20
    config.evaluation_batch_size = 20
    config.sequence_length = 35
    config.num_epochs = 39.0
    config.optimizer.learning_rate = 1.0 * config.sequence_length
    config.optimizer.max_gradient_norm = 5.0 / config.sequence_length
    config.log_every = 100
    config.evaluate_every = 1327  # an epoch
    config.checkpoint_every = 1327
    return config


def get_sweep(variant: str = "pydoc"):
    """The runs: batch size by learning rate by seed."""
    if variant == "pydoc":
        return sweeps.product(
            {"num_epochs": (1.0,), "network.hidden_size": (64,), "batch_size": (16, 64, 256)},
            {"optimizer.learning_rate": sweeps.powers(2, 2, 6)},
            {"seed": range(2)})
    return sweeps.product(
        {"batch_size": tuple(20 * 2**k for k in range(7))},
        {"optimizer.learning_rate": sweeps.powers(2, 0, 9)},
        {"seed": range(5)})
