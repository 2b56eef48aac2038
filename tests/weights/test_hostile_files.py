"""Files that try to run code, or to take the machine's memory, end in one ValueError."""

import resource
import time

import numpy as np
import pytest

from nfnets_jax import weights
from tests.weights import files
from tests.weights.files import number, text

_RECONSTRUCT = (b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R")
_FLOAT32 = b"cnumpy\ndtype\n" + text("f4") + b"\x89\x88\x87R(K\x03" + text("<") + (
    b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
_OBJECT = b"cnumpy\ndtype\n" + text("O8") + b"\x89\x88\x87R(K\x03" + text("|") + (
    b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb")


def array(shape, dtype=_FLOAT32, data=b"C\x04\x00\x00\x00\x00"):
    return _RECONSTRUCT + b"(K\x01(" + b"".join(map(number, shape)) + b"t" + dtype + (
        b"\x89" + data + b"tb")


def short(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


# What is refused -> (the pickle behind its first two bytes, words of the error). COMMAND stands
# for a string that makes a file.
HOSTILE = {
    "os.system": (b"cos\nsystem\nCOMMAND\x85R.", "'os.system'"),
    "posix.system by its stack": (short("posix") + short("system") + b"\x93COMMAND\x85R.",
                                  "'posix.system'"),
    "eval": (b"cbuiltins\neval\nCOMMAND\x85R.", "'builtins.eval'"),
    "subprocess": (b"csubprocess\nPopen\nCOMMAND\x85R.", "'subprocess.Popen'"),
    "getattr chain": (b"cbuiltins\ngetattr\ncnumpy\ndtype\n" + text("__class__") + b"\x86R.",
                      "'builtins.getattr'"),
    "INST": (b"(COMMANDios\nsystem\n.", "instruction INST"),
    "OBJ": (b"(cnumpy\ndtype\nCOMMANDo.", "instruction OBJ"),
    "NEWOBJ": (b"cnumpy\nndarray\n" + number(10**12) + b"\x85\x81.", "instruction NEWOBJ"),
    "NEWOBJ_EX": (b"cnumpy\nndarray\n)}\x92.", "instruction NEWOBJ_EX"),
    "new defaults of a function": (
        b"cnumpy._core.multiarray\n_reconstruct\nN}" + text("__defaults__")
        + b"COMMAND\x85s\x86b.", "sets attributes of a named"),
    "new attributes of a class": (b"ccollections\nOrderedDict\n}" + text("__init__")
                                  + b"COMMANDsb.", "sets attributes of a named"),
    "dotted name": (short("numpy") + short("dtype.__class__.__base__") + b"\x93.",
                    "'numpy.dtype.__class__.__base__'"),
    "dotted module": (short("numpy._core.multiarray.os") + short("system") + b"\x93.",
                      "'numpy._core.multiarray.os.system'"),
    "name that is no string": (b"N" + short("dtype") + b"\x93.", "damaged"),
    "EXT1": (b"\x82\x01.", "instruction EXT1"),
    "EXT4": (b"\x84\x01\x00\x00\x00.", "instruction EXT4"),
    "call of what is only a name": (b"cnumpy\nndarray\n(K\x05K\x05tR.", "'numpy.ndarray'"),
    "call of a dict": (b"}COMMAND\x85R.", "calls what is not a name"),
    "storage outside": (text("storage") + b"Q.", "data outside of it"),
    "text as a persistent id": (b"Pstorage\n.", "instruction PERSID"),
    "object dtype": (array((1,), _OBJECT), "dtype 'O8'"),
    "array of 10^12 numbers": (array((10**12,)), "is given 4 bytes"),
    "array of overflowing shape": (array((2**62, 4, 0, 2**62)), "is given 4 bytes"),
    "negative shape": (array((-1, -1)), "not a list of whole numbers"),
    "33 axes": (array((1,) * 33), "not a list of whole numbers"),
    "bytes beyond the end": (b"\x8e" + (2**40).to_bytes(8, "little") + b"abc.", "ends at byte"),
    "bytearray beyond the end": (b"\x96" + (2**40).to_bytes(8, "little") + b"abc.",
                                 "ends at byte"),
    "text beyond the end": (b"X\xff\xff\xff\x7fabc.", "ends at byte"),
    "frame beyond the end": (b"\x95" + (2**60).to_bytes(8, "little") + b"N.", "ends at byte"),
    "huge place in the memo": (b"}r\xff\xff\xff\xff0h\x05.", "damaged"),
    "whole number of 200 bytes": (b"\x8a\xc8" + b"\x01" * 200 + b".", "number of 200 bytes"),
    "deep recursion": (b"]" + b"]q\x00" * 1 + b"(" * 300_000 + b"l" * 300_000 + b".",
                       "instruction LIST"),
    "deep tuples": (b")" + b"\x85" * 500_000 + b".", "holds a tuple"),
    "deep dicts": (b"}q\x00" + (text("a") + b"}") * 200_000 + b"s" * 200_000 + b".",
                   "holds a dict"),
    "dict in itself": (b"}q\x00" + text("a") + b"h\x00s.", "holds a dict"),
    "key that takes for ever to hash": (
        b")q\x00" + b"h\x00h\x00\x86q\x00" * 100 + b"0}h\x00Ns.", "damaged"),
    "shape that takes for ever to print": (
        b"0" * 0 + b")q\x00" + b"h\x00h\x00\x86q\x00" * 100 + b"0" + _RECONSTRUCT
        + b"(K\x01h\x00" + _FLOAT32 + b"\x89C\x00tb.", "not a list of whole numbers"),
    "cut off": (array((1,))[:-5], "ends at byte"),
    "nothing on the stack": (b"R.", "damaged"),
    "announced array": (b"}" + text("a") + _RECONSTRUCT + b"s.", "does not describe"),
    "Python's byte strings": (b"U\x03abc.", "instruction SHORT_BINSTRING"),
}


@pytest.fixture
def marker(tmp_path):
    """A file that hostile files try to make; checked at the end."""
    yield tmp_path / "marker"
    assert not (tmp_path / "marker").exists()


def refused(path, network="nfnet_digits"):
    """The message of the ValueError, which comes soon and without much memory."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(ValueError) as caught:
        weights.load(path, network=network)
    assert time.monotonic() - start < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 100_000
    return message


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_run_nothing(tmp_path, marker, name):
    data, words = HOSTILE[name]
    data = data.replace(b"COMMAND", text(f"touch {marker}"))
    (tmp_path / "w").write_bytes(b"\x80\x04" + data)
    assert words in refused(tmp_path / "w")


@pytest.mark.parametrize("name", [name for name in HOSTILE if "persistent" not in name
                                  and name not in ("storage outside",)])
def test_hostile_pickles_in_torch_files_run_nothing(tmp_path, marker, name):
    data, words = HOSTILE[name]
    data = data.replace(b"COMMAND", text(f"touch {marker}"))
    files.write_torch_zip(tmp_path / "w", {}, instructions=data)
    message = refused(tmp_path / "w")
    assert words in message or "beyond the end" in name or name == "cut off"


def test_each_hostile_call_would_run_elsewhere(tmp_path):
    import pickle

    data = b"\x80\x04" + HOSTILE["os.system"][0].replace(
        b"COMMAND", text(f"touch {tmp_path}/marker"))
    pickle.loads(data)
    assert (tmp_path / "marker").exists()


X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("options,words", [
    (dict(offset=1), "does not fit its 24 bytes"),
    (dict(offset=-1), "not a list of whole numbers"),
    (dict(shape=(10**6, 10**6)), "does not fit"),
    (dict(shape=(10**6, 10**6), strides=(0, 0)), "does not fit"),
    (dict(strides=(4, 1)), "does not fit"),
    (dict(strides=(-3, 1)), "not a list of whole numbers"),
    (dict(strides=(1,)), "strides"),
    (dict(count=10**12), "fewer than announced"),
    (dict(count=-1), "fewer than announced"),
    (dict(identifier="module"), "no storage of tensors"),
    (dict(storage="UntypedStorage"), "'torch.UntypedStorage'"),
])
def test_hostile_tensors(tmp_path, options, words):
    files.write_torch_zip(tmp_path / "w", {"a": X}, **options)
    assert words in refused(tmp_path / "w")


def test_a_storage_that_is_not_there(tmp_path):
    files.write_torch_zip(tmp_path / "w", {}, instructions=files.torch_pickle({"a": X}))
    assert "lacks the storage data/0" in refused(tmp_path / "w")


def test_files_cut_off_anywhere(tmp_path):
    params = files.random_params("nfnet_digits")
    data = files.pickled(files.haiku_tree("nfnet_digits", params))
    weights.save(tmp_path / "s", params, network="nfnet_digits")
    files.write_torch_zip(tmp_path / "t", files.timm_arrays("nfnet_digits", params))
    for whole in (data, (tmp_path / "s").read_bytes(), (tmp_path / "t").read_bytes()):
        for size in np.linspace(1, len(whole) - 1, 40, dtype=int):
            (tmp_path / "w").write_bytes(whole[:size])
            refused(tmp_path / "w")


def test_files_with_changed_bytes_give_arrays_or_a_value_error(tmp_path):
    rng = np.random.default_rng(0)
    params = files.random_params("nfnet_digits")
    tree = {m: {n: a[:0] for n, a in v.items() if a.ndim}
            for m, v in files.haiku_tree("nfnet_digits", params).items()}
    files.write_torch_zip(tmp_path / "t", {"a": X, "b": X})
    for whole in (files.pickled(tree, 2), files.pickled(tree, 5), (tmp_path / "t").read_bytes()):
        for _ in range(300):
            damaged = bytearray(whole)
            for place in rng.integers(len(whole), size=3):
                damaged[place] = rng.integers(256)
            (tmp_path / "w").write_bytes(damaged)
            refused(tmp_path / "w")
