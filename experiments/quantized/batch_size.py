"""ResNet-56 with binary convolutions on CIFAR-10, batches of 128 to 1,024.

Reproduces: the figure of arXiv 1706.02379 on large batches, recalled: at an equal number of epochs,
    errors of BC and SR, and the share of weights that differ from the start. Its numbers could not
    be read. Batches of 256 and 512 are recalled for SR alone; chosen for BC. The rest is as in
    cifar.py:resnet56.
Time: not run by us at this size. The laptop's version is digits_batch_size.py.

    python -m nfnets_jax.sweep --config=experiments/quantized/batch_size.py --workdir=runs/batches
    python -m experiments.quantized.report table --workdir=runs/batches
"""

from experiments.quantized import cifar, methods
from nfnets_jax import sweeps

BATCHES = (128, 256, 512, 1024)


def get_config():
    """The config of the runs."""
    config = cifar.get_config("resnet56")
    config.quantization.log_changes = True
    return config


def get_sweep():
    """The runs: method by batch size."""
    every_five_epochs = sweeps.zipped({
        methods.BATCH: BATCHES, "evaluate_every": [5 * (50_000 // batch) for batch in BATCHES]})
    return sweeps.product({methods.METHOD: ("binary_connect", "stochastic")}, every_five_epochs)
