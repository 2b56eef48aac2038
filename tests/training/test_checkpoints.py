"""What is read back is what was written, or it is noticed."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets_jax.training.checkpoints import Checkpoints, DamagedCheckpointError, fingerprint


def make_state(value=0.0):
    return {"w": jnp.full((64, 64), value) + jnp.arange(64.0), "step": jnp.int32(7),
            "half": jnp.arange(6, dtype=jnp.bfloat16), "flag": jnp.array([True, False])}


def like(state):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


@pytest.fixture
def checkpoints(tmp_path):
    manager = Checkpoints(tmp_path / "checkpoints", keep=2)
    yield manager
    manager.close()


def test_fingerprint_sees_any_flipped_bit_and_any_swap():
    state = make_state()
    original = fingerprint(state, 7)
    rng = np.random.default_rng(0)
    for _ in range(50):
        words = np.asarray(state["w"]).copy().view(np.uint32)
        words.flat[rng.integers(words.size)] ^= np.uint32(1) << rng.integers(32, dtype=np.uint32)
        changed = {**state, "w": jnp.asarray(words.view(np.float32))}
        assert fingerprint(changed, 7) != original
    assert fingerprint({**state, "w": state["w"][::-1]}, 7) == original  # equal rows
    assert fingerprint({**state, "w": state["w"][:, ::-1]}, 7) != original
    assert fingerprint({**state, "flag": ~state["flag"]}, 7) != original
    assert fingerprint(state, 8) != original


def test_last_two_and_the_best_are_kept(checkpoints):
    for step, accuracy in [(10, 0.2), (20, 0.9), (30, None), (40, 0.3), (50, 0.4)]:
        checkpoints.save(step, make_state(step), accuracy and {"accuracy": accuracy})
    checkpoints.wait()
    assert checkpoints.steps() == [20, 40, 50]
    assert checkpoints.best_step() == 20
    restored = checkpoints.restore_latest(like(make_state()))
    assert restored.step == 50
    jax.tree.map(np.testing.assert_array_equal, restored.state, make_state(50))


def test_smallest_can_be_the_best(tmp_path):
    losses = [(10, 0.5), (20, 0.1), (30, 0.9), (40, 0.3), (50, 0.1), (60, 0.4), (70, 0.2)]
    manager = Checkpoints(
        tmp_path / "checkpoints", keep=1, best_metric="loss", best_is_smallest=True)
    for step, loss in losses:
        manager.save(step, make_state(step), {"loss": loss})
    manager.wait()
    assert manager.steps() == [50, 70]
    assert manager.best_step() == 50
    manager.close()


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [_truncate, _flip, lambda path: path.unlink()])
@pytest.mark.parametrize("which", ["largest", "smallest"])
def test_damaged_latest_is_reported_and_the_one_before_is_used(
        checkpoints, damage, which, tmp_path, caplog):
    for step in (1, 2):
        checkpoints.save(step, make_state(step))
    checkpoints.wait()
    files = [p for p in (tmp_path / "checkpoints" / "00000002" / "default").rglob("d/*")]
    damage(sorted(files, key=lambda p: p.stat().st_size)[-1 if which == "largest" else 0])
    restored = checkpoints.restore_latest(like(make_state()))
    if restored.step == 2:  # the file was not needed: then the state must be whole
        jax.tree.map(np.testing.assert_array_equal, restored.state, make_state(2))
        return
    assert restored.step == 1
    assert "step 2 is damaged" in caplog.text
    jax.tree.map(np.testing.assert_array_equal, restored.state, make_state(1))
    checkpoints.save(2, make_state(5))  # the step can be written again
    checkpoints.wait()
    assert float(checkpoints.restore_latest(like(make_state())).state["w"][0, 0]) == 5


def test_no_checkpoint_left_to_read_is_an_error_and_moves_nothing(checkpoints, tmp_path):
    checkpoints.save(1, make_state())
    checkpoints.wait()
    for path in (tmp_path / "checkpoints" / "00000001").rglob("d/*"):
        path.unlink()
    for _ in range(2):
        with pytest.raises(DamagedCheckpointError, match="Choose another --workdir"):
            checkpoints.restore_latest(like(make_state()))
    assert checkpoints.steps() == [1]


def test_a_state_of_another_shape_moves_nothing(checkpoints):
    checkpoints.save(1, make_state())
    checkpoints.wait()
    with pytest.raises(DamagedCheckpointError, match="another version of this library"):
        checkpoints.restore_latest(like({**make_state(), "new": jnp.zeros(3)}))
    assert checkpoints.restore_latest(like(make_state())).step == 1


@pytest.mark.parametrize("content", ["", "{}", '{"accuracy": 0.', "[1]"])
def test_damaged_metrics_do_not_stop_a_run_or_an_evaluation(content, tmp_path):
    first = Checkpoints(tmp_path / "checkpoints")
    first.save(1, make_state(1), {"accuracy": 0.5})
    first.save(2, make_state(2), {"accuracy": 0.7})
    first.wait()
    first.close()
    (tmp_path / "checkpoints" / "00000002" / "metrics" / "metrics").write_text(content)
    reader = Checkpoints(tmp_path / "checkpoints", read_only=True)
    assert reader.steps() == [1, 2] and reader.best_step() == 1
    reader.close()
    again = Checkpoints(tmp_path / "checkpoints")
    assert again.restore_latest(like(make_state())).step == 2
    again.save(3, make_state(3), {"accuracy": 0.6})
    again.wait()
    assert again.best_step() == 3
    again.close()


def test_a_checkpoint_under_another_step_is_damaged(checkpoints, tmp_path):
    checkpoints.save(1, make_state())
    checkpoints.wait()
    shutil.copytree(tmp_path / "checkpoints" / "00000001", tmp_path / "checkpoints" / "00000009")
    assert checkpoints.restore_latest(like(make_state())).step == 1


def test_none_without_any_checkpoint(checkpoints):
    assert checkpoints.restore_latest(like(make_state())) is None
