"""What the names in a pickle of arrays stand for.

Each takes the file and the arguments that the pickle calls the name with, and returns a
description. Arguments come from a file that nobody vouches for: whatever is not as NumPy, JAX,
Haiku and Python write it is refused.
"""

from collections.abc import Callable
from typing import Any, BinaryIO

from nfnets_jax.weights.stored import DTYPES, Span, StoredArray, check_shape, stored_array

_DTYPE_CODES = {
    "b1": "bool", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64", "u1": "uint8",
    "u2": "uint16", "u4": "uint32", "u8": "uint64", "f2": "float16", "f4": "float32",
    "f8": "float64", "c8": "complex64", "c16": "complex128",
}

# name -> constructor, called with the instruction's arguments
Constructors = dict[str, Callable[..., Any]]


class Named:
    """A name in a pickle, which stands for itself and nothing else."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name


class Module:
    """A module that a pickle of dill's names; nothing is imported."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name


class RecordType:
    """A class of named tuples that a pickle of dill's describes; its objects become dicts."""

    __slots__ = ("fields",)

    def __init__(self, fields: tuple[str, ...]):
        self.fields = fields

    def new(self, values: tuple) -> dict[str, Any]:
        if len(values) != len(self.fields):
            raise TypeError
        return dict(zip(self.fields, values, strict=True))


class OrderedMapping(dict):
    """A dict whose pickle may attach attributes, which are dropped."""


class AnnouncedArray:
    """An array that the pickle announces first and describes afterwards."""

    __slots__ = ("described",)

    def __init__(self):
        self.described: StoredArray | None = None


class StoredDType:
    __slots__ = ("dtype",)

    def __init__(self, dtype):
        self.dtype = dtype


def _dtype(file: BinaryIO, code: Any, *flags: Any) -> StoredDType:
    del file, flags
    if isinstance(code, Named) and code.name == "ml_dtypes.bfloat16":
        return StoredDType(DTYPES["bfloat16"])
    if not isinstance(code, str) or code not in _DTYPE_CODES:
        shown = code if isinstance(code, str) else type(code).__name__
        raise ValueError(f"the pickle has an array of dtype {shown[:40]!r}, which is refused")
    return StoredDType(DTYPES[_DTYPE_CODES[code]])


def with_byte_order(dtype, state):
    if not isinstance(state, tuple) or state[1] not in ("<", ">", "|", "=") or any(state[2:5]):
        raise ValueError("the pickle has an array of a dtype with fields, which is refused")
    return dtype.newbyteorder(state[1]) if state[1] in "<>" else dtype


def describe_array(state: Any) -> StoredArray:
    version, shape, dtype, is_fortran, data = state
    del version
    if not isinstance(dtype, StoredDType) or not isinstance(data, Span | bytes):
        raise TypeError
    return stored_array(shape, dtype.dtype, data, "F" if is_fortran else "C")


def _announce_array(file: BinaryIO, kind: Any, shape: Any, code: Any) -> AnnouncedArray:
    del file, code
    check_shape(shape)
    if not isinstance(kind, Named) or kind.name != "numpy.ndarray":
        raise TypeError
    return AnnouncedArray()


def _from_buffer(file: BinaryIO, data: Any, dtype: Any, shape: Any, order: Any) -> StoredArray:
    del file
    if order not in ("C", "F"):
        raise TypeError
    return describe_array((1, shape, dtype, order == "F", data))


def _from_jax(file: BinaryIO, function: Any, arguments: Any, state: Any, aval: Any) -> StoredArray:
    del file, function, arguments, aval
    return describe_array(state)


def _scalar(file: BinaryIO, dtype: Any, data: Any) -> StoredArray:
    del file
    return describe_array((1, (), dtype, False, data))


def _encode(file: BinaryIO, text: Any, encoding: Any) -> bytes:
    # How protocol 2 writes bytes.
    del file
    if not isinstance(text, str) or encoding != "latin1":
        raise TypeError
    return text.encode("latin1")


def _mapping(file: BinaryIO, items: Any = None) -> OrderedMapping:
    del file
    if items is not None and not isinstance(items, dict):
        raise TypeError
    return OrderedMapping(items or {})


def _import_module(file: BinaryIO, name: Any) -> Module:
    del file
    if not isinstance(name, str):
        raise TypeError
    return Module(name)


def _get_attribute(file: BinaryIO, module: Any, name: Any) -> Named:
    del file
    if not isinstance(module, Module) or not isinstance(name, str):
        raise TypeError
    return check_name(f"{module.name}.{name}")


def _record_type(file: BinaryIO, name: Any, fields: Any, module: Any, *rest: Any) -> RecordType:
    del file, name, module, rest
    if not isinstance(fields, tuple) or not all(isinstance(field, str) for field in fields):
        raise TypeError
    return RecordType(fields)


def _create_array(file: BinaryIO, function: Any, arguments: Any, state: Any = None,
                  attributes: Any = None) -> AnnouncedArray:
    if not isinstance(function, Named) or not function.name.endswith("._reconstruct") or attributes:
        raise TypeError
    array = _announce_array(file, *arguments)
    array.described = describe_array(state)
    return array


def check_name(full: str, known: Constructors | None = None) -> Named:
    """Returns what stands for a name.

    Raises:
      ValueError: if the name is none of those that arrays need.
    """
    if full not in (CONSTRUCTORS if known is None else known) and full not in NAMES:
        raise ValueError(
            f"the pickle refers to {full!r}, which is refused: it is no array, dtype or dict, "
            "and pickles can run what they refer to")
    return Named(full)


CONSTRUCTORS: Constructors = {
    "numpy.dtype": _dtype,
    "_codecs.encode": _encode,
    "collections.OrderedDict": _mapping,
    "haiku._src.data_structures.FlatMapping": _mapping,
    "haiku._src.data_structures.FlatMap": _mapping,
    "haiku._src.data_structures.frozendict": _mapping,
    "jax._src.array._reconstruct_array": _from_jax,
    "jax._src.device_array.reconstruct_device_array": _from_jax,
    "dill._dill._import_module": _import_module,
    "dill._dill._get_attr": _get_attribute,
    "dill._dill._create_namedtuple": _record_type,
    "dill._dill._create_array": _create_array,
    **{f"numpy.{core}.{module}._reconstruct": _announce_array for core in ("core", "_core")
       for module in ("multiarray", "_multiarray_umath")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}
# What may be named but not called.
NAMES = ("numpy.ndarray", "ml_dtypes.bfloat16")
