"""BYOL on Imagenette (ten classes of ImageNet) for a single GPU.

ResNet-18 at 128 pixels, batch 256, 1000 epochs, base learning rate 2.0: the released small preset,
whose README gives 92.3% of the online probe after about 4 hours on a V100 with batch norm. Not run
by us.
Variants: the norms of encoder/projector/predictor as in imagenet.py, batch (the default) or
    group_ws, for example. Only batch norm is the preset's.

    tfds build imagenette --file_format=array_record
    python -m nfnets_jax.train --config=experiments/byol/imagenette.py \\
        --workdir=runs/byol_imagenette
"""

from experiments.byol import imagenet


def get_config(variant: str = "batch"):
    """The config of the run; `variant` is the norm of all parts, or of three."""
    config = imagenet.get_config(f"1000,{variant},256")
    config.network = {"name": "bn_v1_resnet18", **{
        name: config.network[name] for name in ("norm", "num_groups", "weight_standardization")}}
    config.dataset.name = "imagenette"
    config.dataset.image_size = 128
    config.dataset.evaluation_split = "test"
    config.dataset.loader_threads = 16
    config.optimizer.base_learning_rate = 2.0
    config.optimizer.weight_decay = 1e-6
    config.probe.neighbours = 20
    config.evaluate_every = 1000
    return config
