"""Pictures to store, read and cut."""

import io

import numpy as np
from PIL import Image


def encode(image: np.ndarray, file_format: str, **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image.squeeze()).save(out, file_format, **options)
    return out.getvalue()


def photograph(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A smooth random picture: JPEG keeps it and resizing it loses little."""
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
