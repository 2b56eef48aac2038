"""Reads published and saved weights, whatever their format, into a network's parameters."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from nfnets_jax.nets.registry import resolve_plan
from nfnets_jax.weights import naming, safetensors_file, torch_zip, unpickling
from nfnets_jax.weights.stored import DTYPES, StoredArray
from nfnets_jax.weights.writing import function_arguments

_CAST = (*map(np.dtype, (np.float32, np.float16, np.float64)), DTYPES["bfloat16"])
_LEGACY_TORCH_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
_MAX_DEPTH = 4
_WRAPPERS = ("state_dict", "model", "state_dict_ema")

Params = dict[str, dict[str, np.ndarray]]


class _Contents(NamedTuple):
    """What a file holds.

    Attributes:
      arrays: by their names in the file.
      layout: 'haiku' or 'timm'.
      metadata: what `save` wrote about the network; empty for other files.
    """

    arrays: dict[str, StoredArray]
    layout: str
    metadata: dict[str, str]


def load(
    path: str | os.PathLike, *, network: str, num_classes: int | None = None, **overrides: Any
) -> tuple[Params, dict]:
    """Reads weights for a network, one array at a time; nothing in the file is run.

    The format is recognised by content: the authors' Haiku pickles, safetensors files of timm or
    of `save`, and state dicts of PyTorch (zip format) with timm's names. Half and double precision
    are cast.

    Args:
      path: of the file.
      network: a name from `nets.names()`.
      num_classes: number of logits; that of the file if None.
      **overrides: those that the network is created with.

    Returns:
      Parameters, float32 arrays for `nets.create(network, num_classes, **overrides).apply`, and
      the state, {}.

    Raises:
      ValueError: if the file is damaged, is of no known format or contains anything but arrays,
        or if its arrays are not those of the network; the error lists every difference.
      OSError: if the file cannot be read.
    """
    _, _, values = resolve_plan(network, overrides)
    path = os.fspath(path)
    with open(path, "rb") as file:
        try:
            contents = _read(file)
        except ValueError as error:
            raise ValueError(f"{path}: cannot be read as weights of {network}: {error}") from error
        expected = naming.parameters(
            network, num_classes or _num_classes(contents), _channels(contents), **overrides)
        problems = _problems(contents, expected)
        if not problems:
            problems = _differences_of_function(contents, network, values, overrides)
        if problems:
            remedy = _remedy(contents, network, problems)
            raise ValueError(
                f"{path}: holds no weights of {network}: {'; '.join(problems)}{remedy}")
        params: Params = {}
        for p in expected:
            array = contents.arrays[p.names[contents.layout]].read(file)
            array = p.from_layout(array.astype(np.float32, copy=False), contents.layout)
            params.setdefault(p.module, {})[p.name] = array
    return params, {}


def _read(file: BinaryIO) -> _Contents:
    start = file.read(16)
    if start == b"":
        raise ValueError("the file is empty")
    if start.startswith(_LEGACY_TORCH_START[:14]):
        raise ValueError("it is in PyTorch's format from before 1.6; load it there and save it "
                         "again with torch.save")
    metadata: dict[str, str] = {}
    # First, because the size of a header can begin like any of the others.
    if safetensors_file.header_size(file) is not None:
        arrays, metadata = safetensors_file.read(file)
    elif start.startswith(b"PK\x03\x04"):
        arrays = dict(_flatten(_unwrap(torch_zip.read(file)), "."))
    elif start.startswith(b"\x80"):
        file.seek(0)
        arrays = dict(_flatten(unpickling.unpickle(file), "/"))
    else:
        raise ValueError("it is neither a pickle, nor safetensors, nor a zip file of PyTorch")
    if not arrays:
        raise ValueError("it holds no arrays")
    layout = "haiku" if any("/" in name for name in arrays) else "timm"
    if layout == "timm" and all(name.startswith("module.") for name in arrays):
        arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    return _Contents(arrays, layout, metadata if "network" in metadata else {})


def _unwrap(tree: Any) -> Any:
    for name in _WRAPPERS:
        if isinstance(tree, Mapping) and isinstance(tree.get(name), Mapping):
            return tree[name]
    return tree


def _flatten(tree: Any, separator: str, depth: int = 0) -> Iterator[tuple[str, StoredArray]]:
    if not isinstance(tree, Mapping) or depth > _MAX_DEPTH:
        raise ValueError(f"it holds a {type(tree).__name__} where a dict of arrays was expected")
    for name, value in tree.items():
        if isinstance(value, StoredArray):
            yield str(name), value
        else:
            for inner, array in _flatten(value, separator, depth + 1):
                yield f"{name}{separator}{inner}", array


def _problems(contents: _Contents, expected: list[naming.Parameter]) -> list[str]:
    """Lists every array that is missing, too much, or of another shape or dtype."""
    arrays, problems = contents.arrays, []
    names = {p.names.get(contents.layout, f"{p.module}/{p.name}"): p for p in expected}
    for name, p in names.items():
        if name not in arrays:
            problems.append(f"missing {name} {list(p.stored_shape(contents.layout))}")
    problems += [f"unexpected {name} {list(array.shape)}" for name, array in arrays.items()
                 if name not in names]
    for name, p in names.items():
        if name in arrays:
            found, shape = arrays[name], p.stored_shape(contents.layout)
            if found.shape != shape:
                problems.append(
                    f"{name} has shape {list(found.shape)} instead of {list(shape)}")
            if found.dtype.newbyteorder("=") not in _CAST:
                problems.append(f"{name} has dtype {found.dtype} instead of float32")
    return problems


def _differences_of_function(contents, network, values, overrides) -> list[str]:
    """Lists what tells that the weights, which would fit, belong to another function."""
    if contents.metadata:
        try:
            saved = json.loads(contents.metadata.get("arguments", "{}"))
        except json.JSONDecodeError:
            saved = {}
        given = function_arguments(network, overrides)
        if contents.metadata["network"] == network and saved == given:
            return []
        return [f"it was saved from {contents.metadata['network']!r} with arguments {saved}, and "
                f"is asked for as {network!r} with arguments {given}, which is another function"]
    if contents.layout == "haiku" and naming.is_timm(values):
        return ["it holds the authors' weights, for networks with SAME padding and unfolded gains"]
    if contents.layout == "timm" and not naming.is_timm(values):
        # The exception: timm's dm_nfnet_f0 ... f6 are the authors' networks.
        if not (network.startswith("nfnet_") and values["use_skip_gain"]):
            return ["it has timm's names, and timm's networks pad symmetrically and fold gains "
                    "into their convolutions"]
    return []


def _remedy(contents: _Contents, network: str, problems: list[str]) -> str:
    if contents.metadata:
        return f". Use network={contents.metadata['network']!r} and the arguments it was saved with"
    fitting = [name for name in naming.known_networks() if _fits(contents, name)]
    if fitting:
        overrides = " with its own arguments" if network in fitting else ""
        return f". The file fits {' or '.join(map(repr, fitting))}: use that network{overrides}"
    if len(problems) == 1 and f"timm_{network}" in naming.known_networks():
        return f". Use network='timm_{network}' with use_skip_gain=True"
    return ""


def _fits(contents: _Contents, name: str) -> bool:
    expected = naming.parameters(name, _num_classes(contents), _channels(contents))
    values = resolve_plan(name, {})[2]
    return (len(expected) == len(contents.arrays) and not _problems(contents, expected)
            and not _differences_of_function(contents, name, values, {}))


def _num_classes(contents: _Contents) -> int:
    name = "/linear/b" if contents.layout == "haiku" else "head.fc.bias"
    shapes = [array.shape for key, array in contents.arrays.items()
              if key.endswith(name) and "squeeze_excite" not in key]
    return shapes[0][0] if shapes and len(shapes[0]) == 1 and shapes[0][0] else 1000


def _channels(contents: _Contents) -> int:
    ends = ("/initial_conv/w", "/stem_conv0/w", "stem.conv.weight", "stem.conv1.weight")
    axis = 2 if contents.layout == "haiku" else 1
    shapes = [array.shape for key, array in contents.arrays.items() if key.endswith(ends)]
    found = shapes[0][axis] if shapes and len(shapes[0]) == 4 else 3
    return found if found in (1, 3) else 3
