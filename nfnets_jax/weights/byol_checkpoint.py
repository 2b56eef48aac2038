"""Reads the checkpoints that DeepMind published with BYOL (arXiv 2006.07733).

`pretrain_res50x1.pkl` and `pretrain_res200x2.pkl` are written by dill in protocol 2: a dict of the
step, a random key and a named tuple of online and target parameters, online and target state, and
the optimizer's state; parameters are those of Haiku's post-activation ResNet, a projector, a
predictor and a classifier. Nothing in the file is run; see `unpickling`.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from nfnets_jax.nets import architectures
from nfnets_jax.nets.heads import create_mlp
from nfnets_jax.nets.registry import create, resolve_plan
from nfnets_jax.weights import unpickling
from nfnets_jax.weights.stored import StoredArray

Tree = dict[str, dict[str, np.ndarray]]
_MLP_LAYERS = {"linear": "linear0", "batch_norm": "norm", "linear_1": "linear1"}
_PARTS = ("encoder", "projector", "predictor")


def load_byol(
    path: str | os.PathLike, network: str = "bn_v1_resnet50", *, which: str = "online",
    **overrides: Any
) -> tuple[dict[str, Tree], dict[str, Tree]]:
    """Reads the encoder, projector and predictor of a published checkpoint.

    Args:
      path: of the file.
      network: 'bn_v1_resnet50' or 'bn_v1_resnet200', for instance.
      which: 'online' or 'target'.
      **overrides: of the network; for res200x2 widths=(512, 1024, 2048, 4096), stem_width=128.

    Returns:
      Parameters and state, each {'encoder': ..., 'projector': ..., 'predictor': ...}, by the names
      of `nets.create(network, None, **overrides)` and of `nets.create_mlp(name='projector', ...)`.

    Raises:
      ValueError: if the file is damaged, contains anything but arrays and what they are kept in, or
        its arrays are not those of the network; the error lists every difference.
      OSError: if the file cannot be read.
    """
    if which not in ("online", "target"):
        raise ValueError(f"which={which!r}: must be 'online' or 'target'")
    block, plan, _ = resolve_plan(network, overrides)
    if block != "bn_v1":
        raise ValueError(f"network {network!r} has no published BYOL checkpoint: the encoders are "
                         "post-activation ResNets, bn_v1_resnet50 or bn_v1_resnet200")
    with open(path, "rb") as file:
        try:
            content = unpickling.unpickle(file)
            state = content["experiment_state"]
            stored = {kind: dict(_flatten(state[f"{which}_{kind}"]))
                      for kind in ("params", "state")}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: cannot be read as a checkpoint of BYOL: {error}") from error
        modules = dict(_modules(architectures.find(network).module_name, plan))
        renamed = {kind: {_rename(name, modules): (name, array) for name, array in arrays.items()}
                   for kind, arrays in stored.items()}
        expected = _expected(network, overrides, stored["params"])
        problems = [problem for kind in expected
                    for problem in _problems(expected[kind], renamed[kind], kind)]
        if problems:
            raise ValueError(f"{os.fspath(path)}: holds no BYOL checkpoint of {network}: "
                             f"{'; '.join(problems)}")
        result = []
        for kind, shapes in expected.items():
            trees: dict[str, Tree] = {part: {} for part in _PARTS}
            for (part, module, name), like in shapes.items():
                array = renamed[kind][part, module, name][1].read(file)
                trees[part].setdefault(module, {})[name] = np.ascontiguousarray(
                    array.astype(like.dtype, copy=False)).reshape(like.shape)
            result.append(trees)
    return result[0], result[1]


def _flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, StoredArray]]:
    if not isinstance(tree, Mapping):
        raise ValueError(f"{prefix or 'it'} is a {type(tree).__name__} where a dict was expected")
    for name, value in tree.items():
        if isinstance(value, StoredArray):
            yield f"{prefix}{name}", value
        else:
            yield from _flatten(value, f"{prefix}{name}/")


def _modules(own: str, plan) -> Iterator[tuple[str, str]]:
    """Haiku's names of the ResNet's modules, without the network's own, and ours."""
    yield "initial_conv", f"{own}/initial_conv"
    yield "initial_batchnorm", f"{own}/initial_bn"
    first = 0
    for block in plan:
        if block.index and block.stage != plan[block.index - 1].stage:
            first = block.index
        theirs = f"block_group_{block.stage}/~/block_{block.index - first}/~"
        ours = f"{own}/block_{block.index}"
        for i, kernel in enumerate(block.kernels):
            yield f"{theirs}/conv_{i}", f"{ours}/{kernel.name}"
            yield f"{theirs}/batchnorm_{i}", f"{ours}/bn{i}"
        yield f"{theirs}/shortcut_conv", f"{ours}/conv_shortcut"
        yield f"{theirs}/shortcut_batchnorm", f"{ours}/bn_shortcut"


def _rename(name: str, modules: Mapping[str, str]) -> tuple[str, str, str] | None:
    """(part, module, name) of an array of the file, or None where it belongs to none."""
    module, _, leaf = name.rpartition("/")
    root, _, inner = module.partition("/")
    inner = inner.removeprefix("~/")
    average = next((end for end in ("/~/mean_ema", "/~/var_ema") if inner.endswith(end)), "")
    inner = inner.removesuffix(average)
    if root in ("projector", "predictor") and inner in _MLP_LAYERS:
        return root, f"{root}/{_MLP_LAYERS[inner]}{average}", leaf
    if root.startswith("res_net") and inner in modules:
        return "encoder", f"{modules[inner]}{average}", leaf
    return None


def _expected(network: str, overrides: Mapping, params: Mapping[str, StoredArray]):
    """Shapes of the parameters and of the state, by (part, module, name)."""
    channels = next((array.shape[2] for name, array in params.items()
                     if name.endswith("/initial_conv/w") and len(array.shape) == 4), 3)

    def size(name, default):
        shape = params[name].shape if name in params else ()
        return shape[-1] if len(shape) == 2 else default

    hidden, outputs = size("projector/linear/w", 4096), size("projector/linear_1/w", 256)
    parts = {"encoder": create(network, None, **overrides)}
    inputs = jax.ShapeDtypeStruct((2, 64, 64, channels), jnp.float32)
    for name in ("projector", "predictor"):
        parts[name] = create_mlp(hidden_size=hidden, output_size=outputs, norm="batch", name=name)
    expected: dict[str, dict] = {"params": {}, "state": {}}
    for part, transformed in parts.items():
        shapes = jax.eval_shape(
            lambda x, t=transformed: t.init(jax.random.key(0), x, True), inputs)
        for kind, tree in zip(expected, shapes, strict=True):
            for module, name, like in hk.data_structures.traverse(tree):
                expected[kind][part, module, name] = like
        width = outputs
        if part == "encoder":
            out, _ = jax.eval_shape(lambda x, t=transformed, s=shapes: t.apply(
                *jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), s), None, x, True), inputs)
            width = out["features"].shape[-1]
        inputs = jax.ShapeDtypeStruct((2, width), jnp.float32)
    return expected


def _problems(expected: Mapping, found: Mapping, kind: str) -> list[str]:
    problems = []
    for key, like in expected.items():
        name = "/".join(key[1:])
        if key not in found:
            problems.append(f"missing {kind} {name} {list(like.shape)}")
            continue
        theirs, array = found[key]
        if array.shape != like.shape:
            problems.append(f"{theirs} has shape {list(array.shape)} instead of {list(like.shape)}")
        if array.dtype.kind != np.dtype(like.dtype).kind:
            problems.append(f"{theirs} has dtype {array.dtype} instead of {like.dtype}")
    unknown = found[None][0] if None in found and not found[None][0].startswith(
        "classifier/") else None
    if unknown:
        problems.append(f"unexpected {kind} {unknown}")
    return problems
