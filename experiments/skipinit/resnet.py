"""ResNet-50-V2 and ResNet-101-V2 on ImageNet, batches of 256, 1024 and 4096.

Reproduces: the ImageNet study of arXiv 2002.10444 as it was recalled, not read: batch norm,
    SkipInit, regularised SkipInit (biases, and dropout 0.2 before the classifier) and FixUp, 90
    epochs with five of warm-up, no label smoothing, a grid of powers of 2 for the learning rate;
    batch norm over groups of 64 images. Chosen: its ends, 2^-4 and 2^2, the cosine decay, L2 1e-4
    and one seed; the rest is that of ../nf_resnets/imagenet.py. Whether the paper has ResNet-101
    is not known.
Published top-1: empty, the table could not be read.
Variants: 50 or 101, layers; by default 50.
Hardware: 8 or more accelerators; not run at this size by us. ImageNet has to be prepared first.

    python -m nfnets_jax.sweep --config=experiments/skipinit/resnet.py:50 --mapping=map \\
        --devices_per_member=8 --extend=2 --workdir=runs/skipinit_resnet50
    python -m experiments.skipinit.table --workdir=runs/skipinit_resnet50

During training the 10,000 held-out training images are evaluated; the sweep selects on them.
"""

from experiments.nf_resnets import imagenet
from experiments.skipinit import methods
from nfnets_jax import sweeps

NETWORKS = (
    {methods.NAME: "bn_resnet{}", "network.norm": "ghost_batch", "network.ghost_size": 64,
     "network.weight_init": "he"},
    {methods.NAME: "skipinit_resnet{}", "network.weight_init": "he", "network.conv_bias": False},
    {methods.NAME: "skipinit_resnet{}", "network.weight_init": "he", "network.conv_bias": True,
     "network.stem_bias": True, "network.dropout_rate": 0.2},
    {methods.NAME: "fixup_resnet{}"},
)


def get_config(layers: str = "50"):
    """The config of the runs; `layers` is 50 or 101."""
    if layers not in ("50", "101"):
        raise ValueError(f"{layers!r}: use 50 or 101")
    config = imagenet.get_config(f"skipinit_resnet{layers}")

    config.optimizer.nesterov = False
    config.label_smoothing = 0.0
    config.evaluate_every = 0
    return config


def get_sweep(layers: str = "50"):
    """The runs: network by batch size by learning rate."""
    networks = [{**row, methods.NAME: row[methods.NAME].format(layers)} for row in NETWORKS]
    return sweeps.product(
        networks,
        {"batch_size": (256, 1024, 4096)},
        {"optimizer.learning_rate": sweeps.powers(2, -4, 2)})
