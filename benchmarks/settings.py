"""What the benchmarks train: the digits as they are, and a small set of JPEGs."""

import io

import numpy as np
from PIL import Image

from experiments.digits import nf_resnet
from experiments.nf_resnets import imagenet
from nfnets_jax.data import writing

NUM_JPEGS = 4096


def digits_config(num_steps: int):
    """experiments/digits/nf_resnet.py as it is, apart from its length."""
    config = nf_resnet.get_config()
    config.num_epochs = num_steps * config.batch_size / 1437
    config.schedule.warmup_epochs = config.num_epochs / 12
    return config


def jpeg64_config(num_steps: int):
    """The ImageNet config at 64 pixels, for a CPU: batch 32, half the width, float32.

    At half its width a step of the NF-ResNet-50 takes a quarter of the time, so that the loader
    has to be four times as fast, and enough steps fit into the benchmark. It logs every 10 steps,
    not 100, which makes it harder still.
    """
    config = imagenet.get_config("nf_resnet50")
    config.network.widths = (128, 256, 512, 1024)
    config.network.stem_width = 32
    config.dataset.image_size = 64
    config.dataset.loader_threads = 2
    config.dataset.train_split, config.dataset.evaluation_split = "train_and_valid", "test"
    config.precision = "float32"
    config.optimizer.learning_rate = 0.0125
    config.batch_size = config.evaluation_batch_size = 32
    config.num_epochs = num_steps * config.batch_size / NUM_JPEGS
    config.schedule.warmup_epochs = config.num_epochs / 12
    config.log_every = 10
    return config




def write_jpegs(data_dir: str) -> None:
    """Writes 4,096 JPEGs with sides of 64 to 100 pixels as if they were ImageNet.

    Their amplitude spectrum is 1/f, that of natural images, and most of the contrast is in the
    brightness, so that they compress, and take as long to decode, as photographs do.
    """
    rng = np.random.default_rng(0)

    def picture() -> tuple[bytes, int]:
        height, width = rng.integers(64, 101, 2)
        f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
        f[0, 0] = np.inf
        noise = np.fft.rfft2(rng.standard_normal((3, height, width)))
        planes = np.fft.irfft2(noise / f, s=(height, width))
        planes *= np.array([55, 15, 15])[:, None, None] / planes.std((1, 2), keepdims=True)
        pixels = np.clip(planes + 120, 0, 255).astype(np.uint8).transpose(1, 2, 0)
        out = io.BytesIO()
        Image.fromarray(pixels, "YCbCr").save(out, "JPEG", quality=90)
        return out.getvalue(), int(rng.integers(1000))

    writing.write_dataset("imagenet2012", data_dir, {
        "train": [picture() for _ in range(NUM_JPEGS)],
        "validation": [picture() for _ in range(32)]})


CONFIGS = {"digits": digits_config, "jpeg64": jpeg64_config}
