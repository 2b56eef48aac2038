"""Quantized runs: on the grid at every step, continued to the same bits, exported and read back."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nfnets_jax import config as config_lib
from nfnets_jax import tasks
from nfnets_jax.analysis import bits
from nfnets_jax.optim.quantized import BinaryGrid, Grid, random_start
from nfnets_jax.reports import quantized_weights
from nfnets_jax.tasks import classification, quantization
from nfnets_jax.tasks.classification_network import create_network
from nfnets_jax.training import loop, mesh, workdir
from nfnets_jax.training.checkpoints import Checkpoints
from tests.tasks.test_classification import HYPER, linear, make_batch, make_task
from tests.training.programs import assert_same_bits

STEPS = 6


def make_config(devices=2, **fields):
    config = config_lib.default_config()
    config.network.name, config.network.widths = "mlp", (9,)
    config.num_steps, config.batch_size, config.seed = STEPS, 16, 3
    config.schedule.warmup_epochs = 0.0
    config.optimizer.name, config.optimizer.learning_rate = "adam", 0.05
    config.optimizer.weight_decay = 0.0
    config.quantization = {"method": "stochastic", "layers": "matrices", "log_changes": True}
    config = config.to_dict()
    config["quantization"].update(fields)
    return config_lib.check_config(config, devices)


CONFIGS = {
    "stochastic": dict(grid="fixed_point", delta=0.1, lower=-0.5, upper=0.4),
    "binary_connect": dict(method="binary_connect", rounding="stochastic", evaluate="latent",
                           scale=0.5),
}


class Run:
    """A run of a few steps on some devices, by hand."""

    def __init__(self, config, devices):
        self.config, self.experiment = config, tasks.create(config)
        self.mesh = mesh.make_mesh(devices=jax.devices()[:devices])
        self.programs = loop.map_task(self.experiment.task, self.mesh)
        self.start = jax.device_get(self.initialize())

    def initialize(self):
        return loop.initialize(self.programs, self.experiment, self.config["seed"])

    def advance(self, state, stop):
        """The states after each step until `stop`; the first is donated."""
        states, batches = [], self.experiment.train_batches(int(state.step))
        for _ in range(int(state.step), stop):
            state, _ = self.programs.step(state, next(batches))
            states.append(jax.tree.map(np.array, jax.device_get(state)))
        return states, state


@pytest.fixture(scope="module", params=CONFIGS)
def trained(request, tmp_path_factory):
    """A run with its checkpoint, the states after each step, and the states of two devices."""
    config = make_config(**CONFIGS[request.param])
    run = Run(config, 1)
    states, last = run.advance(run.initialize(), STEPS)
    directory = tmp_path_factory.mktemp(request.param)
    workdir.write_config(directory, config)
    checkpoints = Checkpoints(directory / "checkpoints")
    checkpoints.save(STEPS, last)
    checkpoints.close()
    return run, states, directory


def leaves(state):
    return {jax.tree_util.keystr(path): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def kernels(state):
    return {module: values["w"] for module, values in state.task.params.items()}


def test_weights_are_on_the_grid_at_every_step_and_the_rest_is_not(trained):
    run, states, _ = trained
    grid = quantization.create(run.config["quantization"]).grid
    points = np.asarray(grid.points(jnp.arange(-5.0, 5.0)))
    for state in [run.start, *states]:
        for w in kernels(state).values():
            assert np.isin(w, points).all() and len(np.unique(w)) > 1
    assert not np.isin(states[-1].task.params["mlp/classifier"]["b"], points).any()
    moments = run.start.task.opt_state.inner_state
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(moments) if x.ndim == 2)


def test_a_run_continues_to_the_same_bits(trained, tmp_path):
    run, states, _ = trained
    checkpoints = Checkpoints(tmp_path)
    _, state = run.advance(run.initialize(), 2)
    checkpoints.save(2, state)
    checkpoints.wait()
    like = loop.abstract_state(run.programs, run.experiment, 0, run.mesh)
    state = checkpoints.restore(2, like).state
    checkpoints.close()
    continued, _ = run.advance(state, STEPS)
    assert_same_bits(leaves(continued[-1]), leaves(states[-1]))
    assert any(np.any(a != b) for a, b in zip(
        kernels(states[2]).values(), kernels(states[-1]).values(), strict=True))


def test_two_devices_round_alike(trained):
    run, states, _ = trained
    other = Run(run.config, 2)
    _, state = other.advance(other.initialize(), STEPS)
    for module, values in state.task.params.items():
        replicas = [np.asarray(shard.data) for shard in values["w"].addressable_shards]
        np.testing.assert_array_equal(replicas[0], replicas[1])
        np.testing.assert_array_equal(replicas[0], kernels(states[-1])[module])


def test_measure_counts_what_the_weights_did(trained):
    run, states, _ = trained
    task = states[-1].task
    metrics = run.experiment.measure(task, {}, "test", run.mesh).metrics
    history = [kernels(state) for state in [run.start, *states]]
    count = sum(w.size for w in history[0].values())
    changed = {m: np.mean(w != history[-1][m]) for m, w in history[0].items()}
    flips = sum(np.sum(a[m] != b[m]) for a, b in zip(history[:-1], history[1:], strict=True)
                for m in a)
    assert metrics["flips_per_weight"] == pytest.approx(flips / count, rel=1e-5) and flips > 0
    assert metrics["changed_fraction"] == pytest.approx(
        sum(changed[m] * w.size for m, w in history[0].items()) / count)
    for module, share in changed.items():
        assert metrics[f"changed_fraction_{module}"] == pytest.approx(share)
    if run.config["quantization"]["method"] == "binary_connect":
        gaps = [np.abs(task.opt_state.latent[m]["w"] - w).ravel() for m, w in history[-1].items()]
        assert metrics["latent_distance"] == pytest.approx(np.concatenate(gaps).mean(), rel=1e-5)


def test_evaluation_takes_the_weights_it_was_told(trained):
    run, states, _ = trained
    task = states[-1].task
    batch = next(run.experiment.evaluation_batches("test"))
    params = dict(task.params)
    if run.config["quantization"]["evaluate"] == "latent":
        params = {m: {**values, "w": task.opt_state.latent[m]["w"]}
                  for m, values in params.items()}
    objective = run.experiment.objective
    batch = {name: batch[name] for name in ("image", "label", "mask")}
    losses = objective.losses(params, task._replace(hyper={"label_smoothing": 0.0}), batch, False)
    sums = run.programs.evaluate(
        loop.RunState(np.uint32(3), np.int32(STEPS), task), batch)
    assert float(sums["loss"]) == pytest.approx(float(np.sum(losses * batch["mask"])), rel=1e-5)


def test_export_holds_the_network_in_bits(trained, tmp_path):
    run, states, directory = trained
    path = tmp_path / "weights"
    table = quantized_weights.export(directory, path)
    params, network_state = bits.load(path)
    task = states[-1].task
    assert_same_bits(leaves(params), leaves(dict(task.params)))
    images = np.linspace(-1, 1, 5 * 64, dtype=np.float32).reshape(5, 8, 8, 1)
    ours, theirs = (create_network(run.config).apply(p, network_state, None, images, False)[0]
                    for p in (task.params, params))
    np.testing.assert_array_equal(ours["logits"], theirs["logits"])

    each = {"stochastic": 4, "binary_connect": 1}[run.config["quantization"]["method"]]
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()[2:]}
    size = -(-64 * 9 * each // 8)
    changed = np.mean(kernels(run.start)["mlp/hidden_0"] != kernels(states[-1])["mlp/hidden_0"])
    assert rows["mlp/hidden_0/w"] == ["576", str(each), str(size), f"{changed:.2%}"]
    assert rows["mlp/classifier/b"] == ["10", "32", "40", "-"]
    total = size + 4 * 19 + -(-90 * each // 8)
    assert rows["all"][2:4] == [str(total), f"{total / (4 * 685):.1%}"]


def test_packed_codes_have_no_gaps_and_weights_off_the_grid_are_refused():
    grid = Grid(0.25, -0.5, 0.5)
    codes = bits.encode(np.array([[-0.5, 0.25], [0.5, 0.0]], np.float32), grid, "w")
    assert codes.bits == 3 and codes.lowest == -2
    np.testing.assert_array_equal(bits.pack(codes), [0b00011000, 0b101])
    assert bits.encode(np.array([-0.5, 3.0], np.float32), Grid(0.5), "w").bits == 3
    with pytest.raises(ValueError, match="layer/w: 1 of 2 weights are not on BinaryGrid"):
        bits.encode(np.array([1.0, 0.999], np.float32), BinaryGrid(), "layer/w")


@pytest.mark.parametrize("method", ["deterministic", "stochastic", "binary_connect"])
def test_rounding_forgets_the_signs_of_the_initialization_and_binary_connect_keeps_it(method):
    key = jax.random.key(5)
    quantize = quantization.create(make_config(method=method, scale=0.5)["quantization"])
    state = make_task(quantize=quantize).init(key, HYPER)
    network = hk.transform_with_state(linear)
    params, _ = network.init(key, jnp.zeros((2, 8, 8, 1)), is_training=True)
    kernel, w = params["linear"]["w"], state.params["linear"]["w"]
    np.testing.assert_array_equal(np.abs(w), 0.5)
    equal = np.mean(np.sign(w) == np.sign(kernel))
    if method == "binary_connect":
        np.testing.assert_array_equal(state.opt_state.latent["linear"]["w"], kernel)
        assert equal == 1
    else:
        start = random_start(jax.random.fold_in(key, 2), params, BinaryGrid(0.5), quantize.mask)
        np.testing.assert_array_equal(w, start["linear"]["w"])
        assert equal == pytest.approx(0.5, abs=5 * 0.5 / kernel.size**0.5)


def test_the_key_of_rounding_is_used_for_nothing_else():
    def record_key(inner):
        del inner
        return optax.GradientTransformationExtraArgs(
            lambda params: (), lambda updates, state, params, *, key: (
                updates, jax.random.key_data(key)))

    key = jax.random.key(5)
    quantize = quantization.create(make_config()["quantization"])._replace(wrap=record_key)
    task = make_task(quantize=quantize)
    batch = {name: x[None] for name, x in make_batch().items()}
    state, _ = jax.jit(jax.vmap(task.step, in_axes=(None, 0, None), axis_name=mesh.DATA))(
        task.init(key, HYPER), batch, key)
    others = [jax.random.key_data(k) for k in (key, *jax.random.split(key))]
    assert state.opt_state.shape == (1, 2)
    assert all(np.any(state.opt_state != other) for other in others)


def test_runs_begin_with_the_parameters_that_the_report_computes_again(trained):
    run, _, _ = trained
    for module, values in classification.initial_params(run.config).items():
        np.testing.assert_array_equal(values["w"], kernels(run.start)[module])


@pytest.mark.parametrize("changes, message", [
    ({"delta": 0.5}, "quantization.delta=0.5: belongs to the grid fixed_point, not to binary"),
    ({"grid": "fixed_point"}, "quantization.delta=None: the grid fixed_point needs"),
    ({"grid": "fixed_point", "delta": 0.5, "upper": 0.7},
     r"^quantization.upper=0.7: not a multiple of quantization.delta=0.5; use 0.5"),
    ({"grid": "fixed_point", "delta": 0.5, "upper": 0.5, "lower": 1.0},
     r"^quantization.upper=0.5: must be above quantization.lower=1.0"),
    ({"rounding": "stochastic"}, "quantization.rounding='stochastic': belongs to binary_connect"),
    ({"exclude": "("}, "quantization.exclude='\\(': not a regular expression"),
])
def test_fields_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(config_lib.ConfigError, match=message):
        make_config(**changes)


@pytest.mark.parametrize("field, value", [
    ("ema_decay", 0.9), ("optimizer.sam_rho", 0.1), ("optimizer.weight_decay", 1e-4),
    ("pretrained.weights", "file")])
def test_what_does_not_go_with_quantized_weights_is_refused(field, value):
    config = config_lib.default_config()
    config.optimizer.weight_decay = 0.0
    config.quantization.method = "stochastic"
    config.update_from_flattened_dict({field: value})
    with pytest.raises(config_lib.ConfigError, match=f"{field}={value!r}: .*'stochastic'"):
        config_lib.check_config(config, 1)


def test_the_mask_takes_kernels_by_their_rank_and_leaves_out_what_is_excluded():
    params = {"net/conv_0": {"w": np.ones((3, 3, 1, 4)), "b": np.ones(4)},
              "net/conv_1": {"w": np.ones((3, 3, 4, 4))},
              "net/norm": {"scale": np.ones(4), "offset": np.ones(4)},
              "net/classifier": {"w": np.ones((4, 10)), "b": np.ones(10)}}

    def chosen(**fields):
        config = make_config(**fields)
        mask = quantization.create(config["quantization"]).mask(params)
        return {f"{m}/{n}" for m in mask for n in mask[m] if mask[m][n]}

    assert chosen(layers="convolutions") == {"net/conv_0/w", "net/conv_1/w"}
    assert chosen(exclude="conv_0") == {"net/conv_1/w", "net/classifier/w"}
    with pytest.raises(config_lib.ConfigError, match="the network has none outside.*net/conv_0"):
        chosen(layers="convolutions", exclude="conv")
    del params["net/conv_0"], params["net/conv_1"]
    with pytest.raises(config_lib.ConfigError, match="none; use quantization.layers=matrices"):
        chosen(layers="convolutions")
