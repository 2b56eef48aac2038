"""How many weights of VGG-BC differ from their start, layer by layer, epoch by epoch.

Reproduces: the figure of arXiv 1706.02379 that was recalled as one panel for each of R, BC and SR,
    whose numbers could not be read. The runs are those of cifar.py:vgg_bc; the curves of the sweep
    hold `changed_fraction_LAYER` and `flips_per_weight` after every epoch. Half of the signs would
    differ between two random networks.
Time: not run by us at this size. On digits the shares at the end are in README.md.

    python -m nfnets_jax.sweep --config=experiments/quantized/exploration.py --workdir=runs/explored
"""

from experiments.quantized import cifar, methods


def get_config():
    """The config of the runs."""
    config = cifar.get_config("vgg_bc")
    config.quantization.log_changes = True
    config.evaluate_every = cifar.STEPS_PER_EPOCH
    return config


def get_sweep():
    """The runs: R, BC and SR."""
    return methods.rows(cifar.BATCH, cifar.BIG_BATCH,
                        ("deterministic", "binary_connect", "stochastic"))
