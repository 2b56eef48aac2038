"""Reads pickles of arrays without running anything that they say.

A pickle is a program for a stack machine. Python's own unpickler imports what the program names
and calls it; the machine here knows no functions, only a table of names that stand for arrays,
dtypes and dicts, and it interprets only the instructions that these need. Everything else is
refused by name. Large byte strings are not read but remembered by their place in the file.

The instructions are those of protocols 2 to 5 (PEP 307, 3154, 574; `pickletools`).
"""

import os
import pickle
import pickletools
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from nfnets_jax.weights.constructors import (
    CONSTRUCTORS,
    AnnouncedArray,
    Constructors,
    Named,
    OrderedMapping,
    RecordType,
    StoredDType,
    check_name,
    describe_array,
    with_byte_order,
)
from nfnets_jax.weights.stored import Span, StoredArray

# More than any network's parameters need; a bound on what a hostile file can make of its bytes.
_MAX_INSTRUCTIONS = 5_000_000
_MAX_WHOLE_NUMBER_BYTES = 16

_MARK = object()


def unpickle(
    file: BinaryIO,
    extent: Span | None = None,
    constructors: Constructors | None = None,
    resolve_persistent_id: Callable[[Any], Any] | None = None,
) -> Any:
    """Reads one pickle; leaves the file behind its last instruction.

    Args:
      file: seekable, of bytes.
      extent: of the pickle; from the file's present position to its end if None.
      constructors: what else may be called, by 'module.name', besides NumPy's and the dicts.
      resolve_persistent_id: turns what the pickle says of data outside of it into a value.

    Returns:
      None, bools, numbers, strings, `bytes` or `Span`, lists, tuples, dicts with keys of strings
      or numbers, `Named` and, for arrays, `StoredArray`.

    Raises:
      ValueError: if the pickle is damaged, or asks for anything else.
    """
    if extent is None:
        start = file.tell()
        extent = Span(start, file.seek(0, os.SEEK_END) - start)
    machine = _Machine(file, extent, constructors or {}, resolve_persistent_id)
    try:
        return _finish(machine.run())
    except (IndexError, KeyError, TypeError, struct.error, UnicodeError, OverflowError) as error:
        raise ValueError(f"the pickle is damaged at byte {machine.position}") from error


def _finish(value: Any) -> Any:
    """Replaces the announced arrays in dicts, lists and tuples, without recursion."""
    if isinstance(value, AnnouncedArray):
        return _describe(value)
    done: set[int] = set()
    pending = [value]
    while pending:
        container = pending.pop()
        if id(container) in done:
            continue
        done.add(id(container))
        if isinstance(container, dict):
            places = list(container.items())
        elif isinstance(container, list):
            places = list(enumerate(container))
        else:
            continue
        for place, item in places:
            if isinstance(item, AnnouncedArray):
                container[place] = _describe(item)
            else:
                pending.append(item)
    return value


def _describe(array: AnnouncedArray) -> StoredArray:
    if array.described is None:
        raise ValueError("the pickle announces an array that it does not describe")
    return array.described


class _Machine:
    """The stack machine."""

    def __init__(self, file, extent, constructors, resolve_persistent_id):
        self.file = file
        self.end = extent.start + extent.size
        self.position = extent.start
        self.constructors = {**CONSTRUCTORS, **constructors}
        self.resolve_persistent_id = resolve_persistent_id
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        file.seek(extent.start)

    def run(self) -> Any:
        for _ in range(_MAX_INSTRUCTIONS):
            code = self.read(1)
            if code == pickle.STOP:
                return self.stack.pop()
            execute = _INSTRUCTIONS.get(code)
            if execute is None:
                self._refuse_instruction(code)
            execute(self)
        raise ValueError(f"the pickle has more than {_MAX_INSTRUCTIONS} instructions")

    def _refuse_instruction(self, code: bytes) -> None:
        known = pickletools.code2op.get(code.decode("latin1"))
        if known is None:
            raise ValueError(f"byte {self.position - 1} is no instruction of a pickle: {code!r}")
        raise ValueError(
            f"the pickle's instruction {known.name} at byte {self.position - 1} is refused: it "
            "is not one of those that arrays need, and it could run code")

    def read(self, size: int) -> bytes:
        self.claim(size)
        self.file.seek(self.position)
        data = self.file.read(size)
        self.position += size
        return data

    def claim(self, size: int) -> None:
        if size > self.end - self.position:
            raise ValueError(
                f"the pickle ends at byte {self.end}, where {size} more from byte "
                f"{self.position} were announced")

    def number(self, layout: str) -> int | float:
        return struct.unpack(layout, self.read(struct.calcsize(layout)))[0]

    def line(self) -> str:
        self.file.seek(self.position)
        text = self.file.readline(min(1024, self.end - self.position))
        if not text.endswith(b"\n"):
            raise ValueError(f"the pickle ends within a name at byte {self.position}")
        self.position += len(text)
        return text[:-1].decode()

    def skip_bytes(self, size: int) -> None:
        self.claim(size)
        self.stack.append(Span(self.position, size))
        self.position += size

    def pop_to_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                items = self.stack[index + 1:]
                del self.stack[index:]
                return items
        raise IndexError

    def name(self, module: str, name: str) -> None:
        self.stack.append(check_name(f"{module}.{name}", self.constructors))

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError
        self.name(module, name)

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Named) or not isinstance(arguments, tuple):
            raise ValueError("the pickle calls what is not a name")
        if function.name not in self.constructors:
            raise ValueError(f"the pickle calls {function.name!r}, which is refused")
        self.stack.append(self.constructors[function.name](self.file, *arguments))

    def new_object(self) -> None:
        values, kind = self.stack.pop(), self.stack.pop()
        if not isinstance(kind, RecordType):
            self._refuse_instruction(pickle.NEWOBJ)
        if not isinstance(values, tuple):
            raise TypeError
        self.stack.append(kind.new(values))

    def build(self) -> None:
        state, value = self.stack.pop(), self.stack[-1]
        if isinstance(value, AnnouncedArray):
            value.described = describe_array(state)
        elif isinstance(value, StoredDType):
            self.stack[-1].dtype = with_byte_order(value.dtype, state)
        elif not isinstance(value, OrderedMapping):
            raise ValueError(
                f"the pickle sets attributes of a {type(value).__name__.strip('_').lower()}, "
                "which is refused")

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict) or len(items) % 2:
            raise TypeError
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):  # hashing nested tuples can take for ever
                raise TypeError
            self.stack[-1][key] = value

    def pop_items(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def persistent_id(self) -> None:
        if self.resolve_persistent_id is None:
            raise ValueError("the pickle refers to data outside of it, which is refused")
        self.stack.append(self.resolve_persistent_id(self.stack.pop()))

    def whole_number(self) -> None:
        size = self.number("<B")
        if size > _MAX_WHOLE_NUMBER_BYTES:
            raise ValueError(f"the pickle has a number of {size} bytes at byte {self.position}")
        self.stack.append(int.from_bytes(self.read(size), "little", signed=True))


def _text(layout: str) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(m.read(m.number(layout)).decode("utf-8", "surrogatepass"))


def _push(value: Any) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(value)


def _remember(layout: str) -> Callable[[_Machine], None]:
    return lambda m: m.memo.__setitem__(m.number(layout), m.stack[-1])


def _recall(layout: str) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(m.memo[m.number(layout)])


def _tuple(count: int) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(tuple(m.pop_items(count)))


def _number(layout: str) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(m.number(layout))


_INSTRUCTIONS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: lambda m: m.read(1),
    pickle.FRAME: lambda m: m.claim(m.number("<Q")),
    pickle.MARK: _push(_MARK),
    pickle.POP: lambda m: m.stack.pop(),
    pickle.POP_MARK: lambda m: m.pop_to_mark(),
    pickle.NONE: _push(None),
    pickle.NEWTRUE: _push(True),
    pickle.NEWFALSE: _push(False),
    pickle.BININT: _number("<i"),
    pickle.BININT1: _number("<B"),
    pickle.BININT2: _number("<H"),
    pickle.BINFLOAT: _number(">d"),
    pickle.LONG1: _Machine.whole_number,
    pickle.SHORT_BINUNICODE: _text("<B"),
    pickle.BINUNICODE: _text("<I"),
    pickle.BINUNICODE8: _text("<Q"),
    pickle.SHORT_BINBYTES: lambda m: m.skip_bytes(m.number("<B")),
    pickle.BINBYTES: lambda m: m.skip_bytes(m.number("<I")),
    pickle.BINBYTES8: lambda m: m.skip_bytes(m.number("<Q")),
    pickle.BYTEARRAY8: lambda m: m.skip_bytes(m.number("<Q")),
    pickle.EMPTY_LIST: lambda m: m.stack.append([]),
    pickle.EMPTY_DICT: lambda m: m.stack.append({}),
    pickle.EMPTY_TUPLE: _push(()),
    pickle.TUPLE: lambda m: m.stack.append(tuple(m.pop_to_mark())),
    pickle.TUPLE1: _tuple(1),
    pickle.TUPLE2: _tuple(2),
    pickle.TUPLE3: _tuple(3),
    pickle.APPEND: lambda m: m.append(m.pop_items(1)),
    pickle.APPENDS: lambda m: m.append(m.pop_to_mark()),
    pickle.SETITEM: lambda m: m.set_items(m.pop_items(2)),
    pickle.SETITEMS: lambda m: m.set_items(m.pop_to_mark()),
    pickle.BINPUT: _remember("<B"),
    pickle.LONG_BINPUT: _remember("<I"),
    pickle.MEMOIZE: lambda m: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    pickle.BINGET: _recall("<B"),
    pickle.LONG_BINGET: _recall("<I"),
    pickle.GLOBAL: lambda m: m.name(m.line(), m.line()),
    pickle.STACK_GLOBAL: _Machine.stack_global,
    pickle.REDUCE: _Machine.reduce,
    pickle.NEWOBJ: _Machine.new_object,
    pickle.BUILD: _Machine.build,
    pickle.BINPERSID: _Machine.persistent_id,
}
