"""ResNet-50 on ImageNet with batches of 1024, 8 or 4: arXiv 2101.08692, the small-batch table.

Reproduces: 15 epochs (recalled) with and without batch normalization; the learning rate follows the
    batch, 0.1 for each 256 images, as in the authors' released code. Statistics of batch
    normalization are those of the whole batch: at 4 images, of 4. Otherwise as imagenet.py.
Published top-1: 69.9 for nf_resnet50,4 and 55.7 for bn_resnet50,4, from a written summary of the
    paper by others; the other cells were not read.
Variants: NETWORK,BATCH, for example nf_resnet50,8.
Hardware: a batch of 4 needs one accelerator and 4.8 million steps; not run by us.

    python -m nfnets_jax.train --config=experiments/nf_resnets/small_batch.py:nf_resnet50,4 \\
        --workdir=runs/imagenet_nf_resnet50_batch4

The same study on a laptop is digits_small_batch.py.
"""

from experiments.nf_resnets import imagenet


def get_config(variant: str = "nf_resnet50,4"):
    """The config of the run; `variant` is NETWORK,BATCH."""
    network, _, batch_size = variant.partition(",")
    if not batch_size.isdigit():
        raise ValueError(f"{variant!r}: use NETWORK,BATCH, for example nf_resnet50,8")
    config = imagenet.get_config(network)

    config.num_epochs = 15.0
    config.batch_size = int(batch_size)
    config.optimizer.learning_rate = 0.1 * int(batch_size) / 256

    steps_per_epoch = 1_271_167 // int(batch_size)
    config.log_every = max(100, steps_per_epoch // 100)
    config.evaluate_every = steps_per_epoch
    config.checkpoint_every = max(1000, steps_per_epoch // 10)
    return config
