"""The parameters of a normalizer-free network, and what published files call them.

Sources: the module names of the authors' released code (arXiv 2101.08692, 2102.06171), whose
Haiku trees the published pickles hold; timm's `models/nfnet.py`.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from nfnets_jax import nets
from nfnets_jax.nets import architectures
from nfnets_jax.nets.branches import BlockPlan
from nfnets_jax.nets.registry import resolve_plan

LAYOUTS = ("haiku", "timm")

# Kind of branch -> names of the released code's network and of its blocks.
_HAIKU_MODULES = {
    "nfnet": ("NFNet", "nf_block"),
    "regnet": ("NF_RegNet", "nf_block"),
    "resnet": ("NF_ResNet", "nf_res_block"),
}
_TIMM_CONVS = {"conv0": "conv1", "conv1": "conv2", "conv1b": "conv2b", "conv2": "conv3"}
_STEM_KERNELS = {"imagenet": 7, "regnet": 3, "cifar": 3}


class Parameter(NamedTuple):
    """One array of a network.

    Attributes:
      module: name of the Haiku module here.
      name: of the parameter in the module.
      shape: of the array here.
      kind: 'conv' (weights), 'gain', 'gate_conv' (of efficient channel attention), 'linear' or
        'same', by which timm's layout differs.
      names: layout -> name there; without 'haiku' where the released code has no such parameter.
      gate: whether it is a 1x1 convolution in timm, of the squeeze-and-excite gate.
    """

    module: str
    name: str
    shape: tuple[int, ...]
    kind: str
    names: dict[str, str]
    gate: bool = False

    def stored_shape(self, layout: str) -> tuple[int, ...]:
        """Returns the shape in a file of a layout."""
        if layout == "haiku":
            return self.shape
        if self.kind == "gain":
            return (*self.shape, 1, 1, 1)
        shape = tuple(self.shape[axis] for axis in self._timm_axes())
        return (*shape, 1, 1) if self.gate and self.kind == "linear" else shape

    def from_layout(self, array: np.ndarray, layout: str) -> np.ndarray:
        """Returns a stored array as the network has it, contiguous."""
        if layout == "timm":
            axes = self._timm_axes()
            if self.gate or self.kind == "gain":
                array = array.reshape(array.shape[:len(axes)])
            array = array.transpose([axes.index(axis) for axis in range(len(axes))])
        return np.ascontiguousarray(array).reshape(self.shape)

    def to_timm(self, array: np.ndarray) -> np.ndarray:
        """Returns an array of the network as timm stores it, contiguous."""
        transposed = np.ascontiguousarray(array.transpose(self._timm_axes()))
        return transposed.reshape(self.stored_shape("timm"))

    def _timm_axes(self) -> tuple[int, ...]:
        axes = {"conv": (3, 2, 0, 1), "gate_conv": (2, 1, 0), "linear": (1, 0)}
        return axes.get(self.kind, tuple(range(len(self.shape))))


def parameters(
    network: str, num_classes: int, channels: int = 3, **overrides: Any
) -> list[Parameter]:
    """Lists the parameters of a network, in the order of the computation.

    Args:
      network: a name from `nets.names()`.
      num_classes: number of logits.
      channels: of the images.
      **overrides: as for `nets.create`.

    Raises:
      ValueError: if `nets.create` refuses the arguments, or the network is not normalizer-free.
    """
    block, plan, values = resolve_plan(network, overrides)
    if block != "nf" or not values["weight_standardization"]:
        raise ValueError(
            f"network {network!r} is not normalizer-free with weight standardization: no weights "
            "of its kind have been published, and none are read or written")
    return list(_walk(network, num_classes, channels, plan, values))


def is_timm(values: dict[str, Any]) -> bool:
    """Whether a network with these arguments computes what timm's own networks compute."""
    return values["padding"] == "symmetric" and values["gamma_in"] == "weights"


def known_networks() -> list[str]:
    """Returns the names of all networks whose weights can be read and written."""
    return [name for name in nets.names() if architectures.find(name).block == "nf"]


def _walk(network, num_classes, channels, plan, values) -> Iterator[Parameter]:
    found = architectures.find(network)
    root, haiku_block = _HAIKU_MODULES[found.branch]
    own, haiku = found.module_name, f"{root}/~"
    width = values["stem_width"]
    if values["stem"] == "nfnet":
        for i, share in enumerate((8, 4, 2, 1)):
            shape = (3, 3, channels, width // share)
            yield from _conv(f"{own}/stem_conv{i}", f"{haiku}/stem_conv{i}",
                             f"stem.conv{i + 1}", shape)
            channels = width // share
    else:
        size = _STEM_KERNELS[values["stem"]]
        yield from _conv(f"{own}/initial_conv", f"{haiku}/initial_conv", "stem.conv",
                         (size, size, channels, width))
    channels, first = width, 0
    for block in plan:
        if block.index and block.stage != plan[block.index - 1].stage:
            first = block.index
        suffix = f"_{block.index}" if block.index else ""
        names = (f"{own}/block_{block.index}", f"{haiku}/{haiku_block}{suffix}",
                 f"stages.{block.stage}.{block.index - first}")
        yield from _block(names, channels, block, found.branch, values)
        channels = block.channels
    if values.get("head_width"):
        shape = (1, 1, channels, values["head_width"])
        yield from _conv(f"{own}/final_conv", f"{haiku}/final_conv", "final_conv", shape)
        channels = values["head_width"]
    yield from _linear(f"{own}/classifier", f"{haiku}/linear", "head.fc", (channels, num_classes))


def _block(names, channels: int, block: BlockPlan, branch: str, values) -> Iterator[Parameter]:
    own, haiku, timm = names
    if block.is_transition:
        yield from _conv(f"{own}/conv_shortcut", f"{haiku}/~/conv_shortcut",
                         f"{timm}.downsample.conv", (1, 1, channels, block.channels))
    for kernel in block.kernels:
        shape = (kernel.size, kernel.size, channels // kernel.groups, kernel.channels)
        yield from _conv(f"{own}/{kernel.name}", f"{haiku}/~/{kernel.name}",
                         f"{timm}.{_TIMM_CONVS[kernel.name]}", shape)
        channels = kernel.channels
        inside = branch == "regnet"
        if kernel.name == ("conv1" if inside else block.kernels[-1].name):
            yield from _gate(own, haiku, f"{timm}.{'attn' if inside else 'attn_last'}",
                             channels, values)
    if values["use_skip_gain"]:
        yield Parameter(own, "skip_gain", (), "same",
                        {"haiku": f"{haiku}/skip_gain", "timm": f"{timm}.skipinit_gain"})


def _gate(own, haiku, timm, channels, values) -> Iterator[Parameter]:
    if values["use_eca"]:
        size = max(3, int((math.log2(channels) + 1) / 2) // 2 * 2 + 1)
        yield Parameter(f"{own}/eca", "w", (size, 1, 1), "gate_conv",
                        {"timm": f"{timm}.conv.weight"})
    elif values["use_se"]:
        hidden = values["se_ratio"] * channels
        if values["round_widths"]:
            hidden = max(8, int(hidden + 4) // 8 * 8)
        hidden = max(1, int(hidden))
        for i, shape in enumerate([(channels, hidden), (hidden, channels)]):
            suffix = f"_{i}" if i else ""
            yield from _linear(
                f"{own}/squeeze_excite/fc{i}", f"{haiku}/~/squeeze_excite/~/linear{suffix}",
                f"{timm}.fc{i + 1}", shape, gate=True)


def _conv(own: str, haiku: str, timm: str, shape: tuple[int, ...]) -> Iterator[Parameter]:
    def names(here: str, there: str) -> dict[str, str]:
        return {"haiku": f"{haiku}/{here}", "timm": f"{timm}.{there}"}

    yield Parameter(own, "w", shape, "conv", names("w", "weight"))
    yield Parameter(own, "gain", shape[-1:], "gain", names("gain", "gain"))
    yield Parameter(own, "bias", shape[-1:], "same", names("bias", "bias"))


def _linear(own, haiku, timm, shape, gate: bool = False) -> Iterator[Parameter]:
    yield Parameter(own, "w", shape, "linear",
                    {"haiku": f"{haiku}/w", "timm": f"{timm}.weight"}, gate)
    yield Parameter(own, "b", shape[-1:], "same",
                    {"haiku": f"{haiku}/b", "timm": f"{timm}.bias"}, False)
