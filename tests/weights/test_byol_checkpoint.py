"""Published BYOL checkpoints: files in their format, against Haiku's own ResNet."""

import functools
import io
import pickle
import sys
import types
from typing import Any, NamedTuple

import haiku as hk
import jax
import numpy as np
import pytest

from nfnets_jax import nets, weights

NETWORK = "bn_v1_resnet26"
SMALL = dict(widths=(16, 32, 32, 64), stem_width=8)


class _ByolExperimentState(NamedTuple):
    online_params: Any
    target_params: Any
    online_state: Any
    target_state: Any
    opt_state: Any


class ScaleByLarsState(NamedTuple):
    mu: Any


class AddWeightDecayState(NamedTuple):
    """Without fields, as the released optimizer has it."""


class Mlp(hk.Module):
    """The released projector and predictor, by the names of their layers."""

    def __call__(self, x, is_training):
        x = hk.Linear(24)(x)
        x = hk.BatchNorm(True, True, 0.9)(x, is_training)
        return hk.Linear(12, with_bias=False)(jax.nn.relu(x))


class ResNet50(hk.Module):
    """Haiku's ResNet under the released names, with the width of the stem that it had."""

    def __init__(self, name):
        super().__init__(name=name)
        config = dict(decay_rate=0.9, eps=1e-5, create_scale=True, create_offset=True)
        self.conv = hk.Conv2D(8, 7, 2, with_bias=False, name="initial_conv")
        self.norm = hk.BatchNorm(name="initial_batchnorm", **config)
        self.groups = [
            hk.nets.ResNet.BlockGroup(
                channels=width, num_blocks=2, stride=2 if i else 1, bn_config=config,
                resnet_v2=False, bottleneck=True, use_projection=True, name=f"block_group_{i}")
            for i, width in enumerate(SMALL["widths"])]

    def __call__(self, x, is_training):
        x = jax.nn.relu(self.norm(self.conv(x), is_training))
        x = hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
        for group in self.groups:
            x = group(x, is_training, False)
        return x.mean((1, 2))


def released(x, is_training):
    y = ResNet50(name="res_net50")(x, is_training)
    z = Mlp(name="projector")(y, is_training)
    hk.Linear(10, name="classifier")(y)
    return y, z, Mlp(name="predictor")(z, is_training)


FORWARD = hk.without_apply_rng(hk.transform_with_state(released))
IMAGES = np.random.default_rng(0).normal(size=(3, 64, 64, 3)).astype(np.float32)


def random_like(tree, seed):
    rng = np.random.default_rng(seed)

    def one(path, leaf):
        values = rng.normal(size=leaf.shape) if "var_ema" not in str(path) else (
            rng.uniform(0.5, 2, leaf.shape))
        return np.asarray(values if leaf.dtype == np.float32 else leaf).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(one, tree)


class Dill(pickle._Pickler):
    """Writes what dill 0.3.2 writes in protocol 2 (its bytes were looked at).

    Classes of named tuples, and functions of extension modules, are written as calls of dill's own
    functions.
    """

    def save(self, obj, save_persistent_id=True):
        dill = sys.modules["dill._dill"]
        if isinstance(obj, type) and hasattr(obj, "_fields") and id(obj) not in self.memo:
            self.save_reduce(
                dill._create_namedtuple,
                (obj.__name__, obj._fields, "byol.byol_experiment"), obj=obj)
        elif isinstance(obj, types.BuiltinFunctionType) and id(obj) not in self.memo:
            self.save_reduce(dill._import_module, (obj.__module__,))
            self.write(pickle.POP)
            self.save_reduce(dill._get_attr, (Imported(obj.__module__), obj.__name__), obj=obj)
        else:
            super().save(obj, save_persistent_id)


class Imported:
    """Stands for a module; pickled as a call of dill's import."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return sys.modules["dill._dill"]._import_module, (self.name,)


@pytest.fixture
def dill(monkeypatch):
    module = types.ModuleType("dill._dill")
    for name in ("_create_namedtuple", "_import_module", "_get_attr"):
        function = types.FunctionType((lambda *arguments: None).__code__, globals(), name)
        function.__module__, function.__qualname__ = "dill._dill", name
        setattr(module, name, function)
    monkeypatch.setitem(sys.modules, "dill", types.ModuleType("dill"))
    monkeypatch.setitem(sys.modules, "dill._dill", module)

    def dumps(value):
        file = io.BytesIO()
        Dill(file, protocol=2).dump(value)
        return file.getvalue()

    return dumps


@functools.lru_cache
def trees():
    params, state = FORWARD.init(jax.random.key(0), IMAGES, True)
    return random_like(params, 1), random_like(state, 2), random_like(params, 3)


def checkpoint(extra=None):
    params, state, target = trees()
    opt_state = [AddWeightDecayState(), ScaleByLarsState(mu=random_like(params, 4)),
                 extra if extra is not None else AddWeightDecayState()]
    return dict(
        experiment_state=_ByolExperimentState(params, target, state, state, opt_state),
        step=7, rng=np.arange(2, dtype=np.uint32))


@pytest.fixture
def file(tmp_path, dill):
    path = tmp_path / "pretrain_res50x1.pkl"
    data = dill(checkpoint())
    for name in (b"dill._dill\n_create_namedtuple", b"dill._dill\n_get_attr", b"_codecs"):
        assert name in data
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("which", ["online", "target"])
def test_outputs_are_those_of_haiku_s_resnet(file, which):
    online, state, target = trees()
    theirs = FORWARD.apply({"online": online, "target": target}[which], state, IMAGES, False)[0]
    params, own_state = weights.load_byol(file, NETWORK, which=which, **SMALL)
    encoder = nets.create(NETWORK, None, **SMALL)
    mlp = dict(hidden_size=24, output_size=12, norm="batch")
    outputs, _ = encoder.apply(params["encoder"], own_state["encoder"], None, IMAGES, False)
    y = outputs["features"]
    z, _ = nets.create_mlp(**mlp, name="projector").apply(
        params["projector"], own_state["projector"], None, y, False)
    p, _ = nets.create_mlp(**mlp, name="predictor").apply(
        params["predictor"], own_state["predictor"], None, z, False)
    for ours, expected in zip((y, z, p), theirs, strict=True):
        scale = np.abs(expected).max()
        assert scale > 0.1
        np.testing.assert_allclose(ours / scale, expected / scale, atol=1e-5)


def test_a_wrong_network_is_refused_with_every_difference(file):
    with pytest.raises(ValueError) as error:
        weights.load_byol(file, NETWORK, widths=(16, 32, 32, 128), stem_width=8)
    message = str(error.value)
    assert f"holds no BYOL checkpoint of {NETWORK}" in message
    assert "res_net50/~/block_group_3/~/block_1/~/conv_2/w has shape [1, 1, 16, 64]" in message
    with pytest.raises(ValueError, match="unexpected params res_net50/.*block_1|missing params"):
        weights.load_byol(file, "bn_v1_resnet50", **SMALL)
    with pytest.raises(ValueError, match="no published BYOL checkpoint"):
        weights.load_byol(file, "nf_resnet50")


class Hostile:
    """Runs a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("module, name", [("posix", "system"), ("builtins", "eval")])
def test_hostile_files_run_nothing(tmp_path, dill, module, name):
    function = getattr(sys.modules[module], name)
    path = tmp_path / "hostile.pkl"
    command = f"open({str(tmp_path / 'made')!r}, 'w')" if name == "eval" else (
        f"touch {tmp_path / 'made'}")
    path.write_bytes(dill(checkpoint(Hostile(function, command))))
    with pytest.raises(ValueError, match=f"{module}.{name}.*refused"):
        weights.load_byol(path, NETWORK, **SMALL)
    assert not (tmp_path / "made").exists()


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps({"step": 3}, protocol=2))
    with pytest.raises(ValueError, match="cannot be read as a checkpoint of BYOL"):
        weights.load_byol(path, NETWORK)
    with pytest.raises(ValueError, match="which='both': must be"):
        weights.load_byol(path, NETWORK, which="both")
