"""Quantized weights as the bits they are: what they take, and files in which they are packed."""

import json
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import haiku as hk
import numpy as np

from nfnets_jax.optim.grids import BinaryGrid, Grid

FLOAT_BITS = 32


class Codes(NamedTuple):
    """The weights of one array, as places on their grid.

    Attributes:
      numbers: int64, of the shape of the weights, from 0 to 2^bits - 1.
      lowest: code on the grid of the number 0.
      bits: that each number takes.
    """

    numbers: np.ndarray
    lowest: int
    bits: int


class Layer(NamedTuple):
    """What an array of parameters takes.

    Attributes:
      name: module and parameter.
      count: of numbers.
      bits: of each.
      size: of all, in bytes.
      changed: share of the numbers that differ from those at the start; None for float parameters.
    """

    name: str
    count: int
    bits: int
    size: int
    changed: float | None


def encode(weights: np.ndarray, grid: Grid | BinaryGrid, name: str) -> Codes:
    """Finds weights on their grid.

    A grid with two ends has as many bits as its points need; others as these weights need.

    Args:
      weights: float32.
      grid: that they lie on.
      name: for the message.

    Raises:
      ValueError: if a weight is not a point of the grid, to the last bit.
    """
    weights = np.asarray(weights)
    codes = np.asarray(grid.nearest(weights))
    missed = np.count_nonzero(np.asarray(grid.points(codes)) != weights)
    if missed:
        raise ValueError(f"{name}: {missed} of {weights.size} weights are not on {grid}; project "
                         "them first, or leave the layer out")
    ends = np.array([codes.min(), codes.max()])
    if grid.lo is not None and grid.hi is not None:
        ends = np.asarray(grid.nearest(np.array([grid.lo, grid.hi], np.float32)))
    lowest, highest = ends.astype(int)
    bits = max(1, math.ceil(math.log2(highest - lowest + 1)))
    return Codes(codes.astype(np.int64) - lowest, int(lowest), bits)


def pack(codes: Codes) -> np.ndarray:
    """uint8 array of the bits, the lowest of each number first, without gaps between numbers."""
    planes = [(codes.numbers.ravel() >> bit & 1).astype(np.uint8) for bit in range(codes.bits)]
    return np.packbits(np.stack(planes, axis=1), bitorder="little")


def unpack(packed: np.ndarray, shape: tuple[int, ...], lowest: int, bits: int) -> Codes:
    """The codes that `pack` was given."""
    planes = np.unpackbits(packed, count=math.prod(shape) * bits, bitorder="little")
    numbers = sum(plane.astype(np.int64) << bit
                  for bit, plane in enumerate(planes.reshape(-1, bits).T))
    return Codes(numbers.reshape(shape), lowest, bits)


def measure_layers(
    params: hk.Params, start: hk.Params, mask: Mapping[str, Any], grid: Grid | BinaryGrid,
) -> list[Layer]:
    """The size of each array of parameters, in their order.

    Args:
      params: of a network.
      start: the parameters that training began with.
      mask: tree of bools, which of them are quantized.
      grid: that these lie on.

    Raises:
      ValueError: if they do not.
    """
    layers = []
    for module, name, values in hk.data_structures.traverse(params):
        values, where = np.asarray(values), f"{module}/{name}"
        if not mask[module][name]:
            layers.append(Layer(where, values.size, FLOAT_BITS, values.nbytes, None))
            continue
        codes = encode(values, grid, where)
        changed = float(np.mean(values != np.asarray(start[module][name])))
        layers.append(Layer(where, values.size, codes.bits, len(pack(codes)), changed))
    return layers


def format_layers(layers: list[Layer]) -> str:
    """A table of the layers, their sum, and what it is of the size in float32."""
    width = max(len(layer.name) for layer in layers)
    lines = [f"{'parameters':{width}}  {'number':>10}  bits  {'bytes':>10}  changed"]
    lines += [
        f"{layer.name:{width}}  {layer.count:10d}  {layer.bits:4d}  {layer.size:10d}  "
        + ("      -" if layer.changed is None else f"{layer.changed:7.2%}") for layer in layers]
    count, size = sum(layer.count for layer in layers), sum(layer.size for layer in layers)
    share = size / (count * FLOAT_BITS / 8)
    return "\n".join([*lines, f"{'all':{width}}  {count:10d}  {8 * size / count:4.1f}  {size:10d}  "
                      f"{share:.1%} of float32"])


def save(
    path: str | os.PathLike, params: hk.Params, network_state: hk.State, mask: Mapping[str, Any],
    grid: Grid | BinaryGrid,
) -> None:
    """Writes a network: quantized weights as packed codes, all other arrays as they are.

    The .npz file has one array for each parameter, `params/MODULE/NAME`, and for each entry of the
    state, `state/MODULE/NAME`; `about` is JSON that says what the packed ones mean.

    Args:
      path: of the file.
      params: of the network.
      network_state: its state.
      mask: tree of bools, which parameters are quantized.
      grid: that these lie on.

    Raises:
      ValueError: if they do not.
    """
    arrays, packed = {}, {}
    for module, name, values in hk.data_structures.traverse(params):
        key = f"params/{module}/{name}"
        if mask[module][name]:
            codes = encode(values, grid, f"{module}/{name}")
            arrays[key] = pack(codes)
            packed[key] = dict(shape=np.shape(values), lowest=codes.lowest, bits=codes.bits)
        else:
            arrays[key] = np.asarray(values)
    for module, name, values in hk.data_structures.traverse(network_state):
        arrays[f"state/{module}/{name}"] = np.asarray(values)
    kind = "binary" if isinstance(grid, BinaryGrid) else "fixed_point"
    about = {"grid": {"kind": kind, **vars(grid)}, "packed": packed}
    with open(path, "wb") as file:  # NumPy would add .npz to another name
        np.savez(file, about=json.dumps(about), **arrays)


def load(path: str | os.PathLike) -> tuple[hk.Params, hk.State]:
    """Reads the parameters and the state that `save` has written, to the bit."""
    trees: dict[str, dict] = {"params": {}, "state": {}}
    with np.load(path) as file:
        about = json.loads(str(file["about"]))
        kind = about["grid"].pop("kind")
        grid = (BinaryGrid if kind == "binary" else Grid)(**about["grid"])
        for key in file.files:
            if key == "about":
                continue
            values = file[key]
            if key in about["packed"]:
                codes = unpack(values, **about["packed"][key])
                values = np.asarray(grid.points((codes.numbers + codes.lowest).astype(np.float32)))
            tree, module = key.split("/", 1)
            module, name = module.rsplit("/", 1)
            trees[tree].setdefault(module, {})[name] = values
    return trees["params"], trees["state"]
