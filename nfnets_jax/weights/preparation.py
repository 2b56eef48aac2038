"""How images are prepared for published weights.

Sources: the released demonstration notebook and data pipeline of arXiv 2102.06171 for the
authors' networks; the default configurations in timm's `models/nfnet.py` for timm's.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from nfnets_jax import data, nets
from nfnets_jax.nets import architectures

# The authors scale images to this many pixels more than the network sees, and cut out the centre.
_MARGIN = 32
_TIMM_CROP_FRACTION = 0.9
_TIMM_CROP_FRACTIONS = {
    "timm_nf_resnet50": 0.94,
    "timm_nfnet_l0": 1.0,
    **{f"timm_eca_nfnet_l{k}": 1.0 for k in range(4)},
}
# The one NF-ResNet that timm trained has test images of 288 pixels; the others have timm's 224.
_TIMM_RESNET_SIZE = 224
_TIMM_RESNET_SIZES = {"timm_nf_resnet50": 288}


class Preprocessing(NamedTuple):
    """How images become the input of a network.

    Attributes:
      mean: of each channel, in pixel values 0 .. 255; subtracted.
      std: of each channel, in the same unit; divided by.
      image_size: side of the square that the network sees, in pixels.
      resize: 'squash', the whole image to a square of `resize_size`, or 'short_side', the
        shorter side to `resize_size`.
      resize_size: in pixels.
      crop_fraction: image_size / resize_size as the source states it; the centre is cut out.
      interpolation: 'bicubic', with antialiasing.
      padding: 'same' or 'symmetric', of the network's convolutions.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    resize: str
    resize_size: int
    crop_fraction: float
    interpolation: str
    padding: str


def preprocessing(network: str, image_size: int | None = None) -> Preprocessing:
    """Returns how images are prepared for the published weights of a network.

    Networks for CIFAR-10 and the digits, of which nothing is published, take whole images with
    the statistics of those data sets.

    Args:
      network: a name from `nets.names()`.
      image_size: in pixels; that of the published evaluation if None.

    Raises:
      ValueError: if the network is unknown.
    """
    found = architectures.find(network)
    size = image_size or _test_size(network)
    padding = nets.defaults(network).get("padding", "same")
    info = data.info("imagenet2012")
    resize, resize_size, crop_fraction = "short_side", size + _MARGIN, size / (size + _MARGIN)
    if found.values.get("stem") == "cifar":
        info = data.info("digits" if found.image_sizes[1] == 8 else "cifar10")
        resize, resize_size, crop_fraction = "squash", size, 1.0
    elif network.startswith("timm_"):
        crop_fraction = _TIMM_CROP_FRACTIONS.get(network, _TIMM_CROP_FRACTION)
        resize_size = math.floor(size / crop_fraction)
    elif network.startswith("nfnet_"):
        resize = "squash"
    return Preprocessing(
        info.mean, info.std, size, resize, resize_size, crop_fraction, "bicubic", padding)


def prepare(image: np.ndarray, how: Preprocessing) -> np.ndarray:
    """Prepares one image.

    Args:
      image: uint8 [H, W, C].
      how: see `preprocessing`.

    Returns:
      float32 [image_size, image_size, C].
    """
    height, width, channels = image.shape
    size = how.resize_size
    if how.resize == "squash":
        height = width = size
    elif height < width:
        height, width = size, int(size * width / height)
    else:
        height, width = int(size * height / width), size
    picture = Image.fromarray(image if channels == 3 else image[..., 0])
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    top, left = round((height - how.image_size) / 2), round((width - how.image_size) / 2)
    pixels = np.asarray(picture, np.float32).reshape(height, width, channels)
    pixels = pixels[top:top + how.image_size, left:left + how.image_size]
    return (pixels - np.float32(how.mean)) / np.float32(how.std)


def _test_size(network: str) -> int:
    if network.startswith("timm_nf_") and "resnet" in network:
        return _TIMM_RESNET_SIZES.get(network, _TIMM_RESNET_SIZE)
    return nets.image_sizes(network)[1]
