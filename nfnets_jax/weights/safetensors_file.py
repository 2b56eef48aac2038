"""Reads the header of a safetensors file: where each tensor is.

The format (https://github.com/huggingface/safetensors): the size of the header in 8 bytes, the
header in JSON, the numbers. Read here so that one tensor at a time is in memory, and that once.
"""

import json
import os
import struct
from typing import BinaryIO

from nfnets_jax.weights.stored import DTYPES, Span, StoredArray, check_shape, stored_array

_DTYPES = {
    "BOOL": "bool", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "U8": "uint8",
    "U16": "uint16", "U32": "uint32", "U64": "uint64", "F16": "float16", "BF16": "bfloat16",
    "F32": "float32", "F64": "float64",
}
_MAX_HEADER_SIZE = 100_000_000  # as in the safetensors library


def header_size(file: BinaryIO) -> int | None:
    """Returns the size of the header, or None if the file does not begin as one of the format."""
    file.seek(0)
    start = file.read(9)
    size = struct.unpack("<Q", start[:8])[0] if len(start) == 9 else 0
    return size if start[8:] == b"{" and 2 <= size <= _MAX_HEADER_SIZE else None


def read(file: BinaryIO) -> tuple[dict[str, StoredArray], dict[str, str]]:
    """Returns the tensors by name, and the file's metadata.

    Raises:
      ValueError: if the file is damaged.
    """
    size = header_size(file)
    total = file.seek(0, os.SEEK_END)
    if size is None or 8 + size > total:
        raise ValueError("the header of the safetensors file is damaged or cut off")
    file.seek(8)
    try:
        header = json.loads(file.read(size))
        metadata = header.pop("__metadata__", {})
        arrays = {name: _tensor(entry, 8 + size, total) for name, entry in header.items()}
    except (json.JSONDecodeError, UnicodeError, RecursionError, KeyError, TypeError,
            AttributeError) as error:
        raise ValueError("the header of the safetensors file is damaged") from error
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("the metadata of the safetensors file are damaged")
    return arrays, metadata


def _tensor(entry: dict, start: int, total: int) -> StoredArray:
    begin, end = check_shape(entry["data_offsets"])
    if begin > end or start + end > total:
        raise ValueError("the safetensors file is cut off: a tensor lies beyond its end")
    dtype = DTYPES[_DTYPES[entry["dtype"]]]
    return stored_array(entry["shape"], dtype, Span(start + begin, end - begin))
