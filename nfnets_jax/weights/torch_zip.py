"""Reads PyTorch's state dicts, as `torch.save` writes them since version 1.6, without PyTorch.

Such a file is a zip archive without compression: `data.pkl` is a pickle that describes the
tensors, and `data/0`, `data/1`, ... are the storages that they take their numbers from.
"""

import errno
import struct
import zipfile
from typing import Any, BinaryIO

from nfnets_jax.weights import unpickling
from nfnets_jax.weights.constructors import Named
from nfnets_jax.weights.stored import DTYPES, Span, StoredArray, strided_array

_STORAGE_DTYPES = {
    "BoolStorage": "bool", "CharStorage": "int8", "ShortStorage": "int16", "IntStorage": "int32",
    "LongStorage": "int64", "ByteStorage": "uint8", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "FloatStorage": "float32", "DoubleStorage": "float64",
    "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128",
}
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 0x1


class _Storage:
    """The bytes of one storage, and the dtype of its numbers."""

    __slots__ = ("span", "dtype")

    def __init__(self, span, dtype):
        self.span = span
        self.dtype = dtype


def read(file: BinaryIO) -> Any:
    """Returns what the file holds, tensors as `StoredArray`; see `unpickling.unpickle`.

    Raises:
      ValueError: if the file is damaged, compressed, or asks for anything but tensors.
    """
    try:
        archive = zipfile.ZipFile(file)
    # zipfile raises NotImplementedError for a version of the format that it does not know.
    except (zipfile.BadZipFile, NotImplementedError, struct.error, UnicodeError) as error:
        raise ValueError("the zip archive is damaged") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a directory said to begin before the file
            raise
        raise ValueError("the zip archive is damaged") from error
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("the zip archive has no data.pkl: torch.save did not write it")
    folder = pickles[0].removesuffix("data.pkl")
    _check_byte_order(file, entries.get(f"{folder}byteorder"))

    def resolve(identifier: Any) -> _Storage:
        kind, storage_type, key, location, count = identifier
        del location
        if kind != "storage" or not isinstance(storage_type, Named) or type(key) is not str:
            raise ValueError("the pickle refers to data that is no storage of tensors")
        dtype = DTYPES[_STORAGE_DTYPES[storage_type.name.removeprefix("torch.")]]
        entry = entries.get(f"{folder}data/{key}")
        if entry is None:
            raise ValueError(f"the zip archive lacks the storage data/{key[:40]}")
        span = _span(file, entry)
        if type(count) is not int or not 0 <= count * dtype.itemsize <= span.size:
            raise ValueError(f"the storage data/{key} has {span.size} bytes, fewer than announced")
        return _Storage(Span(span.start, count * dtype.itemsize), dtype)

    return unpickling.unpickle(
        file, _span(file, entries[pickles[0]]), _CONSTRUCTORS, resolve)


def _check_byte_order(file: BinaryIO, entry: zipfile.ZipInfo | None) -> None:
    if entry is None:
        return
    span = _span(file, entry)
    file.seek(span.start)
    if file.read(min(span.size, 16)) != b"little":
        raise ValueError("the numbers of the file are not little-endian, which is refused")


def _span(file: BinaryIO, entry: zipfile.ZipInfo) -> Span:
    """Returns where the bytes of an uncompressed entry are."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
        raise ValueError(
            f"the entry {entry.filename[:80]!r} of the zip archive is compressed or encrypted, "
            "which is refused; torch.save writes neither")
    if entry.header_offset < 0:
        raise ValueError("the zip archive is damaged")
    file.seek(entry.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
        raise ValueError("the zip archive is damaged")
    name_size, extra_size = _LOCAL_HEADER.unpack(header)[-2:]
    start = entry.header_offset + _LOCAL_HEADER.size + name_size + extra_size
    if start + entry.file_size > file.seek(0, 2) or entry.file_size != entry.compress_size:
        raise ValueError(f"the zip archive ends within its entry {entry.filename[:80]!r}")
    return Span(start, entry.file_size)


def _tensor(file: BinaryIO, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any
            ) -> StoredArray:
    del file, rest  # requires_grad, hooks and metadata
    if not isinstance(storage, _Storage):
        raise TypeError
    return strided_array(shape, storage.dtype, storage.span, offset, strides)


def _parameter(file: BinaryIO, data: Any, *rest: Any) -> StoredArray:
    del file, rest
    if not isinstance(data, StoredArray):
        raise TypeError
    return data


def _not_callable(file: BinaryIO, *arguments: Any) -> None:
    del file, arguments
    raise TypeError


_CONSTRUCTORS = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    **{f"torch.{storage}": _not_callable for storage in _STORAGE_DTYPES},
}
