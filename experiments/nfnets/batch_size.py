"""ResNets at batch 256 to 4096, with and without gradient clipping: arXiv 2102.06171, figure 2a.

Reproduces: NF-ResNets with and without adaptive clipping, and batch normalization, 90 epochs
    (recalled), regularised as in ../nf_resnets/imagenet.py; the learning rate is 0.1 for each 256
    images. The clipping of each batch size is chosen: 0.01 is released for 4096, and it is recalled
    that larger batches need smaller values.
Published top-1, read off the figure (+- 0.1), at batch 256 / 512 / 1024 / 2048 / 4096:
    nf_resnet50 76.6 / 76.7 / 76.9 / 76.9 / fails; with clipping 76.8 / 76.9 / 77.0 / 76.9 / 76.7;
    bn_resnet50 76.9 / 76.8 / 76.4 / 76.8 / 76.8;
    nf_resnet200 79.3 / 79.5 / 79.5 / 79.6 / fails; with clipping 79.2 / 79.4 / 79.6 / 79.5 / 79.2;
    bn_resnet200 78.7 / 79.0 / 78.9 / 79.0 / 78.9.
Variants: NETWORK,BATCH or NETWORK,BATCH,agc.
Hardware: 8 or more accelerators; not run at this size by us.

    python -m nfnets_jax.train --config=experiments/nfnets/batch_size.py:nf_resnet50,4096,agc \\
        --workdir=runs/imagenet_nf_resnet50_batch4096_agc

The same study on a laptop is digits_batch_size.py.
"""

from experiments.nf_resnets import imagenet

CLIPPING = {256: 0.08, 512: 0.04, 1024: 0.02, 2048: 0.02, 4096: 0.01}


def get_config(variant: str = "nf_resnet50,4096,agc"):
    """The config of the run; `variant` is NETWORK,BATCH or NETWORK,BATCH,agc."""
    network, batch_size, *options = (*variant.split(","), "")[:max(2, variant.count(",") + 1)]
    if not batch_size.isdigit() or int(batch_size) not in CLIPPING or options not in ([], ["agc"]):
        raise ValueError(f"{variant!r}: use NETWORK,BATCH or NETWORK,BATCH,agc with a BATCH of "
                         f"{', '.join(map(str, CLIPPING))}")
    config = imagenet.get_config(f"{network},regularized")

    config.batch_size = int(batch_size)
    config.optimizer.learning_rate = 0.1 * int(batch_size) / 256
    if options:
        config.optimizer.agc_clipping = CLIPPING[int(batch_size)]
    return config
