"""Arrays that lie in a file: what is known of them before any of their bytes are read."""

import math
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

# The dtypes that a file of weights may name; what a network accepts of them is up to the reader.
DTYPES = {
    name: np.dtype(name)
    for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
                 "float16", "float32", "float64", "complex64", "complex128")
}
DTYPES["bfloat16"] = np.dtype(ml_dtypes.bfloat16)

_MAX_RANK = 32


class Span(NamedTuple):
    """Bytes of a file that have not been read.

    Attributes:
      start: offset in the file.
      size: number of bytes.
    """

    start: int
    size: int


class StoredArray(NamedTuple):
    """An array in a file.

    Attributes:
      shape: of the array.
      dtype: of the stored numbers, with their byte order.
      data: where the numbers are, or the bytes themselves.
      strides: steps along each axis, in numbers, within `data`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    data: Span | bytes
    strides: tuple[int, ...]

    def read(self, file: BinaryIO) -> np.ndarray:
        """Returns a new, aligned array of `shape` and `dtype`; as strided as in the file."""
        if isinstance(self.data, bytes):
            flat = np.frombuffer(bytearray(self.data), self.dtype)
        else:
            flat = np.empty(self.data.size // self.dtype.itemsize, self.dtype)
            file.seek(self.data.start)
            if file.readinto(memoryview(flat.view(np.uint8))) != self.data.size:
                raise ValueError("the file ends within an array")
        steps = tuple(step * self.dtype.itemsize for step in self.strides)
        return np.lib.stride_tricks.as_strided(flat, self.shape, steps)


def stored_array(
    shape: Sequence[int],
    dtype: np.dtype,
    data: Span | bytes,
    order: str = "C",
) -> StoredArray:
    """Describes an array whose numbers fill `data` in 'C' or 'F' order.

    Raises:
      ValueError: if the shape is none, or does not have the size of the data.
    """
    shape = check_shape(shape)
    size = data.size if isinstance(data, Span) else len(data)
    if math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"an array of shape {list(shape)} and dtype {dtype} is given {size} bytes")
    return StoredArray(shape, dtype, data, _contiguous_strides(shape, order))


def strided_array(
    shape: Sequence[int],
    dtype: np.dtype,
    storage: Span,
    offset: int,
    strides: Sequence[int],
) -> StoredArray:
    """Describes an array that takes some of the numbers of a storage.

    Args:
      shape: of the array.
      dtype: of the numbers.
      storage: where the numbers are.
      offset: of the array's first number in the storage, in numbers.
      strides: steps along each axis, in numbers.

    Raises:
      ValueError: if the array would reach beyond the storage, or hold a number more than once.
    """
    shape, strides = check_shape(shape), check_shape(strides)
    (offset,) = check_shape((offset,))
    if len(shape) != len(strides):
        raise ValueError(f"an array of shape {list(shape)} has strides {list(strides)}")
    count = math.prod(shape)
    last = sum((size - 1) * step for size, step in zip(shape, strides, strict=True)) if count else 0
    if (offset + last + (count > 0)) * dtype.itemsize > storage.size or last + 1 < count:
        raise ValueError(
            f"an array of shape {list(shape)}, strides {list(strides)} and offset {offset} does "
            f"not fit its {storage.size} bytes of {dtype}")
    size = (last + 1 if count else 0) * dtype.itemsize
    return StoredArray(
        shape, dtype, Span(storage.start + offset * dtype.itemsize, size), strides)


def check_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns a shape as a tuple.

    Raises:
      ValueError: if it is not a list of at most 32 whole numbers, none of them negative.
    """
    is_list = isinstance(shape, tuple | list) and len(shape) <= _MAX_RANK
    if not is_list or not all(type(size) is int and 0 <= size < 2**63 for size in shape):
        raise ValueError("the shape of an array is not a list of whole numbers")
    return tuple(shape)


def _contiguous_strides(shape: tuple[int, ...], order: str) -> tuple[int, ...]:
    axes = range(len(shape)) if order == "F" else range(len(shape) - 1, -1, -1)
    strides, step = [0] * len(shape), 1
    for axis in axes:
        strides[axis] = step
        step *= max(1, shape[axis])
    return tuple(strides)
