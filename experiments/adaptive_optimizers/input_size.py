"""The optimizers of the study on autoencoders of smaller images, all examples in every step.

Variants: 17 and 12, the pixels on a side of the MNIST images (recalled); the network of
full_batch.py:mnist. Not run.

    python -m nfnets_jax.sweep --config=experiments/adaptive_optimizers/input_size.py:17 \\
        --workdir=runs/input_size
    python -m experiments.adaptive_optimizers.table --workdir=runs/input_size
"""

from experiments.adaptive_optimizers import autoencoders, full_batch


def get_config(size: str = "17"):
    """The config of the runs."""
    if size not in ("17", "12"):
        raise ValueError(f"{size!r}: use 17 or 12")
    return autoencoders.mnist(3, 1000, image_size=int(size))


def get_sweep(size: str = "17"):
    """The runs: those of full_batch.py:mnist."""
    del size
    return full_batch.get_sweep("mnist")
