"""NF-ResNets and their baselines on ImageNet: arXiv 2101.08692, table 1.

Reproduces: batch 1024, 90 epochs, 224 pixels; with `,regularized` the columns with stochastic depth
    and dropout. Optimizer, schedule and the exclusions from weight decay are those of the authors'
    released configuration; the weight decay 5e-5 of the normalizer-free rows is recalled, 1e-4 of
    the others is released; the rates 0.1 and 0.25 of the regularised rows are recalled.
Published top-1: empty; the table could not be read.
Variants: NETWORK or NETWORK,regularized, where NETWORK is {nf,bn,skipinit,fixup}_resnet{50,101,152,
    200,288}. nf_resnet288 is reported to collapse sometimes at learning rate 0.4 and not at 0.2.
Hardware: written for 8 or more accelerators; not run at this size by us, so no time is known.
    ImageNet has to be prepared first (the program says how).

    python -m nfnets_jax.train --config=experiments/nf_resnets/imagenet.py:nf_resnet50 \\
        --workdir=runs/imagenet_nf_resnet50

During training the 10,000 held-out training images are evaluated, and pick the best checkpoint;
`python -m nfnets_jax.evaluate --workdir=... --split=test` gives the accuracy that is published.
"""

from nfnets_jax.config import default_config


def get_config(variant: str = "nf_resnet50"):
    """The config of the run; `variant` is NETWORK or NETWORK,regularized."""
    network, _, option = variant.partition(",")
    if option not in ("", "regularized"):
        raise ValueError(f"{variant!r}: use NETWORK or NETWORK,regularized")
    config = default_config("classification")

    config.network.name = network
    if option:
        config.network.stochastic_depth_rate = 0.1
        config.network.dropout_rate = 0.25

    config.dataset.name = "imagenet2012"
    config.dataset.image_size = 224
    config.dataset.evaluation_split = "valid"
    config.dataset.random_resized_crop = True
    config.dataset.flip = True
    config.dataset.loader_threads = 64
    config.batch_size = 1024
    config.evaluation_batch_size = 1024
    config.precision = "bfloat16"

    config.num_epochs = 90.0
    config.optimizer.learning_rate = 0.4  # 0.1 for each 256 images of the batch
    config.optimizer.weight_decay = 5e-5 if network.startswith("nf_") else 1e-4
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 5.0
    config.label_smoothing = 0.1

    config.log_every = 100
    config.evaluate_every = 5000
    config.checkpoint_every = 1000
    return config
