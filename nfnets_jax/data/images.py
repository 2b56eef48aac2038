"""Decodes, crops and resizes images on the host."""

import io
import math
from collections.abc import Sequence

import numpy as np
import simplejpeg
from PIL import Image

# A crop in pixels of the original image: top, left, height, width.
Crop = tuple[int, int, int, int]

EVALUATION_CROPS = ("crop_resize", "resize_crop")

_JPEG = b"\xff\xd8"


def decode(data: bytes, channels: int, *, min_height: int = 0, min_width: int = 0) -> np.ndarray:
    """Decodes one JPEG or PNG.

    JPEGs go through libjpeg-turbo; what it cannot turn into RGB (CMYK, as 22 files of ImageNet,
    or a PNG named .JPEG, as one of them) goes through Pillow.

    Args:
      data: the encoded image.
      channels: 1 for grey, 3 for RGB.
      min_height, min_width: where both are positive, a JPEG may be decoded at a lower resolution
        of at least this size, which is faster.

    Returns:
      uint8 [H, W, channels].

    Raises:
      ValueError: `data` is not an image.
    """
    if data[:2] == _JPEG:
        colorspace = simplejpeg.decode_jpeg_header(data)[2]
        if colorspace not in ("CMYK", "YCCK"):
            return simplejpeg.decode_jpeg(
                data,
                colorspace="RGB" if channels == 3 else "GRAY",
                min_height=min_height,
                min_width=min_width,
                strict=False,
            )
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB" if channels == 3 else "L")
    except OSError as error:
        raise ValueError(f"{len(data)} bytes starting {data[:8]!r} are not an image") from error
    return np.asarray(image).reshape(image.height, image.width, channels)


def random_crop(
    rng: np.random.Generator, height: int, width: int, image_size: int
) -> Crop:
    """Draws the training crop of the papers' ImageNet pipeline.

    The law is that of TensorFlow's `sample_distorted_bounding_box`: the aspect ratio
    (width / height) is uniform in [3/4, 4/3], the height uniform between the values at which the
    area is 8 % and 100 % of the image (or the image's border is reached), the position uniform;
    crops under 10 % of the area are refused, and after ten refusals the central crop for
    `image_size` is used.
    Note that it is the side that is uniform, not the area as in Szegedy et al. (2015).
    """
    for _ in range(10):
        aspect = rng.uniform(3 / 4, 4 / 3)
        low = round(math.sqrt(0.08 * height * width / aspect))
        high = min(round(math.sqrt(height * width / aspect)), height, int((width + 0.5) / aspect))
        crop_height = int(rng.integers(min(low, high), high, endpoint=True))
        crop_width = round(crop_height * aspect)
        fits = 0 < crop_height <= height and 0 < crop_width <= width
        if fits and crop_height * crop_width >= 0.1 * height * width:
            top = int(rng.integers(0, height - crop_height, endpoint=True))
            left = int(rng.integers(0, width - crop_width, endpoint=True))
            return top, left, crop_height, crop_width
    return center_crop(height, width, image_size)


def area_crop(
    rng: np.random.Generator, height: int, width: int, min_area: float
) -> Crop:
    """Draws the crop of self-supervised training, as `views.crop_box` does on the device.

    The share of the area is uniform in min_area .. 1, the logarithm of the aspect ratio (width /
    height) uniform in log 3/4 .. log 4/3, the position uniform; sides are rounded and cut off at
    the image. Source: the released code of BYOL (arXiv 2006.07733).
    """
    area = rng.uniform(min_area, 1.0) * height * width
    aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    crop_width = min(max(1, round(math.sqrt(area * aspect))), width)
    crop_height = min(max(1, round(math.sqrt(area / aspect))), height)
    top = int(rng.integers(0, height - crop_height, endpoint=True))
    left = int(rng.integers(0, width - crop_width, endpoint=True))
    return top, left, crop_height, crop_width


def center_crop(height: int, width: int, image_size: int) -> Crop:
    """The evaluation crop: a centred square of image_size / (image_size + 32) of the short side.

    Source: Brock et al. (2021), as in the ResNet pipelines for TPUs.
    """
    side = max(1, min(height, width) * image_size // (image_size + 32))
    return (height - side + 1) // 2, (width - side + 1) // 2, side, side


def resize(
    image: np.ndarray, image_size: int, box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Resizes a box (left, top, right, bottom) of an image to a square: bicubic, antialiased.

    Args:
      image: uint8 [H, W, C].
      image_size: side of the result, S.
      box: in pixels, may be fractional; the whole image if None.

    Returns:
      uint8 [S, S, C].
    """
    channels = image.shape[-1]
    picture = Image.fromarray(image if channels == 3 else image[..., 0])
    picture = picture.resize((image_size, image_size), Image.Resampling.BICUBIC, box=box)
    return np.asarray(picture).reshape(image_size, image_size, channels)


def load_crops(
    data: bytes | np.ndarray, image_size: int, channels: int, crops: Sequence[Crop]
) -> np.ndarray:
    """Several crops of an encoded or decoded image, resized; it is decoded once.

    Returns:
      uint8 [crops, image_size, image_size, channels].
    """
    height, width = shape_of(data)
    if isinstance(data, bytes):
        _, _, crop_heights, crop_widths = zip(*crops, strict=True)
        data = decode(
            data,
            channels,
            min_height=min(height, math.ceil(height * image_size / min(crop_heights))),
            min_width=min(width, math.ceil(width * image_size / min(crop_widths))),
        )
    y, x = data.shape[0] / height, data.shape[1] / width
    return np.stack([
        resize(data, image_size,
               (left * x, top * y, (left + crop_width) * x, (top + crop_height) * y))
        for top, left, crop_height, crop_width in crops])


def load_for_evaluation(
    data: bytes, image_size: int, channels: int, crop: str = "crop_resize"
) -> np.ndarray:
    """An encoded image at full resolution, cropped and resized for a test.

    Args:
      data: the encoded image.
      image_size: side of the result, S.
      channels: 1 or 3.
      crop: 'crop_resize' resizes the `center_crop`; 'resize_crop' resizes the whole image to a
        square of S + 32 pixels, whatever its aspect, and takes the central S x S, as the NFNets'
        released evaluation does (arXiv 2102.06171).

    Returns:
      uint8 [image_size, image_size, channels].
    """
    image = decode(data, channels)
    if crop == "resize_crop":
        return resize(image, image_size + 32)[16:-16, 16:-16]
    top, left, height, width = center_crop(*image.shape[:2], image_size)
    return resize(image, image_size, (left, top, left + width, top + height))


def shape_of(data: bytes | np.ndarray) -> tuple[int, int]:
    """Height and width of an encoded or decoded image, without decoding it."""
    if isinstance(data, np.ndarray):
        return data.shape[:2]
    if data[:2] == _JPEG:
        return simplejpeg.decode_jpeg_header(data)[:2]
    image = Image.open(io.BytesIO(data))
    return image.height, image.width
