"""Writes a network's parameters as timm names and stores them."""

import json
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from nfnets_jax import nets
from nfnets_jax.nets import arguments
from nfnets_jax.weights import naming
from nfnets_jax.weights.preparation import preprocessing

# Arguments that change how a network is trained or compiled, but not the function of its weights.
_NOT_OF_THE_FUNCTION = ("dropout_rate", "stochastic_depth_rate", "scale_by_keep", "scan_blocks",
                        "classifier_init_std", "skip_gain_init")


def save(
    path: str | os.PathLike, params: Mapping[str, Mapping[str, Any]], *, network: str,
    **overrides: Any,
) -> None:
    """Writes parameters to a safetensors file that `load`, and timm, read back bit for bit.

    Names and layouts are timm's; those of a network with skip gains are what
    `timm.create_model(..., skipinit=True)` loads. The metadata say which network it is and how
    its images are prepared. The file appears complete or not at all.

    Args:
      path: of the file.
      params: float32 arrays by module and name, as `nets.create(network, ...).init` makes them.
      network: a name from `nets.names()`, of a normalizer-free network.
      **overrides: those that the network was created with.

    Raises:
      ValueError: if the parameters are not those of the network.
    """
    given = {(module, name): array for module, values in params.items()
             for name, array in values.items()}
    num_classes, channels = _sizes(given)
    expected = naming.parameters(network, num_classes, channels, **overrides)
    known = {(p.module, p.name) for p in expected}
    problems = [f"missing {module}/{name}" for module, name in known - given.keys()]
    problems += [f"unknown {module}/{name}" for module, name in given.keys() - known]
    arrays = {}
    for p in expected:
        if (p.module, p.name) in given:
            array = np.asarray(given[p.module, p.name])
            if array.shape != p.shape or array.dtype != np.float32:
                problems.append(f"{p.module}/{p.name} is {array.dtype} {list(array.shape)} "
                                f"instead of float32 {list(p.shape)}")
            else:
                arrays[p.names["timm"]] = p.to_timm(array)
    if problems:
        raise ValueError(
            f"the parameters are not those of {network}: {'; '.join(sorted(problems))}")
    _write(path, arrays, {
        "format": "pt",
        "network": network,
        "arguments": json.dumps(function_arguments(network, overrides), sort_keys=True),
        "preprocessing": json.dumps(preprocessing(network)._asdict()),
    })


def function_arguments(network: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the overrides that change the network's function, as JSON would give them back."""
    defaults = nets.defaults(network)
    values = arguments.resolve(network, defaults, overrides)
    changed = {name: value for name, value in values.items()
               if name not in _NOT_OF_THE_FUNCTION and value != defaults[name]}
    return json.loads(json.dumps(changed))


def _sizes(given: Mapping[tuple[str, str], Any]) -> tuple[int, int]:
    """Returns the number of classes and of the images' channels."""
    num_classes, channels = 1, 3
    for (module, name), array in given.items():
        shape = np.shape(array)
        if module.endswith("/classifier") and name == "b" and len(shape) == 1:
            num_classes = max(1, shape[0])
        if module.endswith(("/initial_conv", "/stem_conv0")) and name == "w" and len(shape) == 4:
            channels = shape[2]
    return num_classes, channels


def _write(path, arrays, metadata) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".weights-")
    os.close(descriptor)
    try:
        save_file(arrays, temporary, metadata)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
