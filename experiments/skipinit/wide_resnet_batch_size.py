"""Wide-ResNet-16-4 on CIFAR-10, batches of 16 to 4096: the batch-size sweep of SkipInit.

Reproduces: the figure of arXiv 2002.10444 as it was recalled, not read: for every batch size, a
    power of 2, the best learning rate of a grid of powers of 2, 200 epochs whatever the batch size,
    for batch norm over groups of 64 images, SkipInit, regularised SkipInit (biases, and dropout 0.6
    before the classifier) and no norm at all; otherwise the runs of wide_resnet.py. Chosen: the
    ends of both grids, and seven seeds of which the best five count, as in the depth study.
Published accuracy: empty, the figure could not be read.
Time: not run by us at this size. 3,024 runs; --dry_run estimates what they take on a machine.
    CIFAR-10 has to be prepared first (the program says how).

    python -m nfnets_jax.sweep --config=experiments/skipinit/wide_resnet_batch_size.py \\
        --extend=3 --best_k=5 --workdir=runs/wide_resnet_batch_size
    python -m experiments.skipinit.table --workdir=runs/wide_resnet_batch_size --best_k=5
    python -m nfnets_jax.report sweep --workdir=runs/wide_resnet_batch_size --best_k=5

The laptop's version is digits_batch_size.py.
"""

from experiments.skipinit import methods, wide_resnet
from nfnets_jax import sweeps

NETWORKS = (
    {methods.NAME: "bn_wrn_16_4", "network.norm": "ghost_batch", "network.ghost_size": 64},
    {methods.NAME: "skipinit_wrn_16_4"},
    {methods.NAME: "skipinit_wrn_16_4", "network.conv_bias": True, "network.stem_bias": True,
     "network.dropout_rate": 0.6},
    {methods.NAME: "plain_wrn_16_4"},
)


def get_config():
    """The config of the runs."""
    config = wide_resnet.get_config("skipinit_wrn_16_4")
    config.evaluate_every = 0
    return config


def get_sweep():
    """The runs: network by batch size by learning rate by seed."""
    return sweeps.product(
        NETWORKS,
        {"batch_size": tuple(2**k for k in range(4, 13))},
        {"optimizer.learning_rate": sweeps.powers(2, -9, 2)},
        {"seed": range(7)})
