"""ResNet-18 with binary convolutions on ImageNet, trained in five ways.

Reproduces: the last column of table 1 of arXiv 1706.02379, whose text could not be read. Recalled:
    90 epochs, ADAM at 0.01, a tenth of it after each 30, batches of 128. Chosen: 1,024 for SR with
    large batches, random crops and flips. The rest is as in cifar.py.
Published error: empty; no number could be read.
Hardware: written for accelerators; not run by us. ImageNet has to be prepared first.

    python -m nfnets_jax.sweep --config=experiments/quantized/imagenet.py --workdir=runs/resnet18
    python -m experiments.quantized.report table --workdir=runs/resnet18
"""

from experiments.quantized import cifar


def get_config():
    """The config of the runs."""
    config = cifar.get_config()

    config.network.name = "bn_v1_resnet18"
    config.dataset.name = "imagenet2012"
    config.dataset.image_size = 224
    config.dataset.random_resized_crop = True
    config.dataset.crop_padding = 0
    config.dataset.loader_threads = 64
    config.precision = "bfloat16"

    config.num_epochs = 90.0
    config.schedule.drops = (1 / 3, 2 / 3)
    return config


def get_sweep():
    """The runs: the methods, one seed."""
    return cifar.get_sweep()
