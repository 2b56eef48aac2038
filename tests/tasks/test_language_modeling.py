"""Truncated back-propagation, its hidden state and its data, against second computations."""

import functools
import itertools
import math

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nfnets_jax import config as config_lib
from nfnets_jax import data, tasks
from nfnets_jax.config import ConfigError
from nfnets_jax.nets import lstm
from nfnets_jax.tasks import language_modeling
from nfnets_jax.training import loop, mesh
from tests.nets import test_lstm

V, B, T = 11, 8, 5
SHAPES = dict(num_layers=2, hidden_size=6)
HYPER = dict(learning_rate=0.5, momentum=0.9, weight_decay=0.01, max_gradient_norm=1.0)
NEVER = 1e30  # a norm that no gradient has


@functools.cache
def make_task(vocabulary_size=V, batch_size=B, init_scale=0.8, dropout_rate=0.0, **shapes):
    shapes = {**SHAPES, **shapes}
    return language_modeling.create_task(
        lstm.lstm_language_model(
            vocabulary_size, **shapes, init_scale=init_scale, dropout_rate=dropout_rate),
        initial_state=lambda count: lstm.initial_state(count, **shapes),
        batch_size=batch_size, schedule=optax.constant_schedule(1.0))


@functools.cache
def programs_of(task, devices):
    return loop.map_task(task, mesh.make_mesh(devices=jax.devices()[:devices]))


def some_ids(count=300, seed=0):
    return np.random.default_rng(seed).integers(0, V, count, dtype=np.int32)


def run(task, batches, devices=1, state=None, **hyper):
    """The states before and after every step, and the steps' metrics."""
    programs = programs_of(task, devices)
    hyper = {k: np.float32(v) for k, v in {**HYPER, **hyper}.items()}
    state = programs.init(np.uint32(0), hyper) if state is None else state
    states, history = [jax.device_get(state)], []
    for batch in batches:
        state, metrics = programs.step(state, batch)
        states.append(jax.device_get(state))
        history.append(jax.device_get(metrics))
    return states, history


def stream(count, ids=None, sequence_length=T, start_step=0):
    return list(itertools.islice(data.token_batches(
        some_ids() if ids is None else ids, batch_size=B, sequence_length=sequence_length,
        seed=3, start_step=start_step), count))


def loss_of(params, tokens, hidden):
    """Mean cross-entropy in float64 numpy, and the hidden state after it."""
    logits, hidden = test_lstm.forward(params, tokens[:, :-1], hidden)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -np.take_along_axis(log_p, tokens[:, 1:, None], -1).mean(), hidden


def losses(history):
    return np.array([metrics["loss"] for metrics in history])


def test_steps_read_on_where_the_last_one_stopped():
    batches = stream(3)
    states, history = run(make_task(), batches, learning_rate=0)
    params, hidden = states[0].task.params, states[0].task.hidden
    expected = []
    for batch in batches:
        loss, hidden = loss_of(params, batch["tokens"], hidden)
        expected.append(loss)
    np.testing.assert_allclose(losses(history), expected, rtol=1e-5)
    for one, other in zip(states[-1].task.hidden, hidden, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    # Two steps are one of twice the length.
    long = {"tokens": np.concatenate([batches[0]["tokens"], batches[1]["tokens"][:, 1:]], axis=1),
            "is_start": batches[0]["is_start"]}
    ends, whole = run(make_task(), [long], learning_rate=0)
    assert losses(whole)[0] == pytest.approx(losses(history)[:2].mean(), rel=1e-5)
    np.testing.assert_allclose(ends[1].task.hidden.cell, states[2].task.hidden.cell, atol=1e-5)


def test_an_epoch_starts_with_nothing_to_remember():
    per_epoch = 300 // (B * T)
    batches = stream(per_epoch + 1)
    states, history = run(make_task(), batches, learning_rate=0)
    params, zeros = states[0].task.params, lstm.initial_state(B, **SHAPES)
    fresh, _ = loss_of(params, batches[-1]["tokens"], zeros)
    stale, _ = loss_of(params, batches[-1]["tokens"], states[-2].task.hidden)
    assert abs(stale - fresh) > 1e-3
    assert history[-1]["loss"] == pytest.approx(fresh, rel=1e-5)


@pytest.mark.parametrize("max_gradient_norm, clips", [(NEVER, False), (0.05, True)])
def test_update_is_the_clipped_gradient_of_this_step_alone(max_gradient_norm, clips):
    """Two updates by hand, with central differences in float64 for derivatives."""
    batches = stream(2)
    states, history = run(make_task(), batches, max_gradient_norm=max_gradient_norm)
    rng, traces = np.random.default_rng(0), {}
    places = {(module, name): tuple(rng.integers(value.shape)) for module, name, value in
              hk.data_structures.traverse(states[0].task.params)}
    for number, (batch, metrics) in enumerate(zip(batches, history, strict=True)):
        before, after = (states[number + k].task for k in (0, 1))
        norm = float(metrics["gradient_norm"])
        assert (norm > max_gradient_norm) == clips
        for (module, name), place in places.items():
            ends = []
            for delta in (1e-5, -1e-5):
                params = jax.tree.map(lambda x: np.array(x, float), before.params)
                params[module][name][place] += delta
                ends.append(loss_of(params, batch["tokens"], before.hidden)[0])
            gradient = (ends[0] - ends[1]) / 2e-5 * (max_gradient_norm / norm if clips else 1.0)
            value = before.params[module][name][place]
            if name != "b":
                gradient += HYPER["weight_decay"] * value
            traces[module, name] = HYPER["momentum"] * traces.get((module, name), 0.0) + gradient
            moved = after.params[module][name][place] - value
            assert moved == pytest.approx(
                -HYPER["learning_rate"] * traces[module, name], abs=3e-6), (module, name)


def test_clipped_step_has_the_length_that_was_asked_for():
    for norm in (0.01, 0.1):
        states, history = run(make_task(), stream(1), learning_rate=1, momentum=0,
                                 weight_decay=0, max_gradient_norm=norm)
        moved = jax.tree.map(np.subtract, states[1].task.params, states[0].task.params)
        assert history[0]["gradient_norm"] > norm
        assert optax.tree.norm(moved) == pytest.approx(norm, rel=1e-4)


def test_number_of_devices_changes_neither_the_curve_nor_what_is_remembered():
    batches = stream(9)  # an epoch has seven
    one, history = run(make_task(), batches)
    assert history[-1]["loss"] != history[0]["loss"]
    for devices in (2, 4):
        several, again = run(make_task(), batches, devices)
        for name in ("loss", "accuracy", "gradient_norm"):
            np.testing.assert_allclose([m[name] for m in again], [m[name] for m in history],
                                       rtol=1e-4)
        for a, b in zip(several[-1].task.hidden, one[-1].task.hidden, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5)


def test_devices_draw_their_own_dropout():
    task = make_task(dropout_rate=0.5)
    batch = stream(1)[0]
    same = {"tokens": np.repeat(batch["tokens"][:1], B, axis=0), "is_start": batch["is_start"]}
    states, _ = run(task, [same], devices=2)
    hidden = states[1].task.hidden.hidden
    assert np.max(np.abs(hidden[: B // 2] - hidden[B // 2:])) > 1e-2


def test_restart_from_any_step_is_exact():
    task = make_task(dropout_rate=0.3)
    straight, history = run(task, stream(9))
    for start in (1, 6, 8):  # inside an epoch, before and after its end
        state = jax.tree.map(jnp.asarray, straight[start])
        resumed, again = run(task, stream(9 - start, start_step=start), state=state)
        np.testing.assert_array_equal(losses(again), losses(history)[start:])
        jax.tree.map(np.testing.assert_array_equal, resumed[-1].task, straight[-1].task)


def test_resident_batches_are_those_of_the_host():
    ids = some_ids()
    resident = language_modeling.resident_corpus(ids, B, T)
    arrays = jax.tree.map(jnp.asarray, resident.arrays)
    for start, stop in ((0, 9), (5, 16), (7, 8)):
        drawn = resident.draw(3, start, stop)
        assert {x.shape for x in jax.tree.leaves(drawn)} == {(stop - start, B)}
        for k, expected in enumerate(stream(stop - start, start_step=start)):
            batch = resident.batch(arrays, {name: x[k] for name, x in drawn.items()})
            for name in ("tokens", "is_start"):
                np.testing.assert_array_equal(batch[name], expected[name])


def test_evaluation_adds_up_every_target_whatever_the_batches():
    ids, window = some_ids(59), 7
    states, _ = run(make_task(), stream(2))
    params, total, correct = states[-1].task.params, 0.0, 0
    for start in range(0, 58, window):
        tokens = ids[None, start : start + window + 1]
        loss, _ = loss_of(params, tokens, lstm.initial_state(1, **SHAPES))
        logits, _ = test_lstm.forward(params, tokens[:, :-1], lstm.initial_state(1, **SHAPES))
        total += loss * (tokens.shape[1] - 1)
        correct += np.sum(logits.argmax(-1) == tokens[:, 1:])
    for devices, batch_size in ((1, 1), (1, 4), (2, 4), (4, 16)):
        grid = mesh.make_mesh(devices=jax.devices()[:devices])
        got = loop.evaluate(programs_of(make_task(), devices), states[-1], data.window_batches(
            ids, batch_size=batch_size, sequence_length=window), grid)
        assert got["count"] == 58
        assert got["loss"] == pytest.approx(total / 58, rel=1e-5)
        assert got["accuracy"] == pytest.approx(correct / 58, rel=1e-6)


def treebank_config(folder, **changes):
    """A config of the word-level task on a corpus of a few words."""
    words = np.random.default_rng(0).choice(list("abcdefgh"), 400)
    for split, part in (("train", words[:300]), ("valid", words[300:350]), ("test", words[350:])):
        (folder / f"ptb.{split}.txt").write_text(f" {' '.join(part)} \n")
    config = config_lib.default_config("language_modeling").to_dict()
    config["dataset"].update(name="penn_treebank", data_dir=str(folder))
    config["network"].update(hidden_size=6, num_layers=1, init_scale=1e-9)
    config.update(batch_size=4, sequence_length=5, evaluation_batch_size=4,
                  evaluation_sequence_length=6)
    for path, value in changes.items():
        *parents, key = path.split(".")
        level = config
        for parent in parents:
            level = level[parent]
        level[key] = value
    return config


def create(config):
    return tasks.create(config_lib.check_config(config, 1))


def test_uniform_model_has_the_loss_of_chance(tmp_path):
    experiment = create(treebank_config(tmp_path))
    grid = mesh.make_mesh(devices=jax.devices()[:1])
    programs = loop.map_task(experiment.task, grid)
    state = loop.initialize(programs, experiment, 0)
    count = {"train": 300, "valid": 50, "test": 50}  # <eos> ends each; the first is no target
    assert experiment.chance_loss == pytest.approx(math.log(10))  # with <unk> and <eos>
    for role, split in experiment.splits.items():
        values, _ = loop.evaluate_split(programs, experiment, state, split, grid)
        assert values["loss"] == pytest.approx(experiment.chance_loss, rel=1e-6)
        assert values["perplexity"] == pytest.approx(10, rel=1e-5)
        assert values["count"] == count[role]


def test_length_of_a_run(tmp_path):
    # 301 tokens in 4 streams of 75: 15 steps of 5.
    assert create(treebank_config(tmp_path)).total_steps == 10 * 15
    assert create(treebank_config(tmp_path, num_epochs=0.5)).total_steps == 8
    assert create(treebank_config(tmp_path, num_steps=7)).total_steps == 7
    assert create(treebank_config(tmp_path, num_examples=31)).total_steps == 7
    assert create(treebank_config(tmp_path, batch_size=8)).total_steps == 10 * 7


WRONG = {
    "no step": ({"num_epochs": 0.01}, ["num_epochs=0.01", "15 steps"]),
    "too few examples": ({"num_examples": 3}, ["num_examples=3", "batch_size=4"]),
    "batch": ({"batch_size": 61}, ["batch_size=61", "sequence_length=5", "301 tokens"]),
    "warm-up": ({"num_steps": 15, "schedule.warmup_epochs": 1.0},
                ["schedule.warmup_epochs=1", "15 steps"]),
    "level": ({"dataset.level": "character"},
              ["dataset.name='penn_treebank'", "level='character'", "use level='word'"]),
    "split": ({"dataset.evaluation_split": "dev"}, ["dataset.evaluation_split='dev'", "valid"]),
    "norm": ({"optimizer.max_gradient_norm": 0.0}, ["max_gradient_norm=0.0", "above 0"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_config_names_field_value_and_remedy(tmp_path, name):
    changes, words = WRONG[name]
    with pytest.raises(ConfigError) as error:
        create(treebank_config(tmp_path, **changes))
    for word in words:
        assert word in str(error.value)


def test_what_the_last_token_says_of_the_next_is_learnt():
    """A ring of eight tokens, followed nine times in ten: nothing is in their frequencies."""
    rng = np.random.default_rng(0)
    jumps = np.where(rng.random(6000) < 0.9, 1, rng.integers(0, 8, 6000))
    ids = (np.cumsum(jumps) % 8).astype(np.int32)
    p = np.array([0.9 + 0.1 / 8] + [0.1 / 8] * 7)
    unigram, conditional = math.log(8), -np.sum(p * np.log(p))
    task = make_task(8, init_scale=0.1, num_layers=1, hidden_size=16)
    states, _ = run(task, stream(200, ids[:5000], sequence_length=10),
                              learning_rate=1, weight_decay=0)
    values = loop.evaluate(
        programs_of(task, 1), states[-1],
        data.window_batches(ids[5000:], batch_size=8, sequence_length=50),
        mesh.make_mesh(devices=jax.devices()[:1]))
    assert conditional - 0.1 < values["loss"] < conditional + 0.15 < unigram - 1
