"""Files of weights as other programs write them, made by hand."""

import io
import pickle
import zipfile

import numpy as np

from nfnets_jax.weights import naming


def random_params(network, num_classes=5, channels=3, seed=0, **overrides):
    """Normally distributed parameters of a network, by module and name."""
    rng = np.random.default_rng(seed)
    params = {}
    for p in naming.parameters(network, num_classes, channels, **overrides):
        params.setdefault(p.module, {})[p.name] = rng.standard_normal(p.shape).astype(np.float32)
    return params


def haiku_tree(network, params, num_classes=5, channels=3):
    """The parameters under the names of the authors' released modules."""
    tree = {}
    for p in naming.parameters(network, num_classes, channels):
        module, _, name = p.names["haiku"].rpartition("/")
        tree.setdefault(module, {})[name] = params[p.module][p.name]
    return tree


def timm_arrays(network, params, num_classes=5, channels=3, **overrides):
    """The parameters under timm's names and in its layout."""
    return {p.names["timm"]: p.to_timm(params[p.module][p.name])
            for p in naming.parameters(network, num_classes, channels, **overrides)}




def text(value):
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def number(value):
    return b"\x8a\x08" + value.to_bytes(8, "little", signed=True)


def tensor(key, array, *, offset=0, shape=None, strides=None, count=None, storage="FloatStorage",
           identifier="storage"):
    """The instructions with which PyTorch describes a tensor, in protocol 2."""
    shape = array.shape if shape is None else shape
    strides = [s // array.itemsize for s in array.strides] if strides is None else strides
    count = array.size if count is None else count
    return b"".join([
        b"ctorch._utils\n_rebuild_tensor_v2\n((", text(identifier), b"ctorch\n",
        storage.encode(), b"\n", text(key), text("cpu"), number(count), b"tQ", number(offset),
        b"(", *map(number, shape), b"t(", *map(number, strides), b"t\x89",
        b"ccollections\nOrderedDict\n)RtR"])


def torch_pickle(arrays, **options):
    """The instructions of a state dict; arrays are stored under 0, 1, ..."""
    items = b"".join(text(name) + tensor(str(i), array, **options)
                     for i, (name, array) in enumerate(arrays.items()))
    # PyTorch attaches the versions of the modules to the dict.
    metadata = b"}" + text("_metadata") + b"ccollections\nOrderedDict\n)Rsb"
    return b"ccollections\nOrderedDict\n)R(" + items + b"u" + metadata


def write_torch_zip(path, arrays, *, instructions=None, wrapper=None,
                    compression=zipfile.ZIP_STORED, **options):
    """Writes arrays as torch.save does."""
    data = torch_pickle(arrays, **options) if instructions is None else instructions
    if wrapper:
        data = b"}" + text("epoch") + b"K\x07s" + text(wrapper) + data + b"s"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + data + b".")
        archive.writestr("archive/byteorder", "little")
        for i, array in enumerate(arrays.values()):
            axes = np.argsort([-step for step in array.strides], kind="stable")
            archive.writestr(f"archive/data/{i}", array.transpose(axes).tobytes())
        archive.writestr("archive/version", "3\n")


def pickled(tree, protocol=4):
    file = io.BytesIO()
    pickle.dump(tree, file, protocol)
    return file.getvalue()
