"""Nothing is lost: whatever ends a run, the same command continues it to the same bits."""

import json
import random
import signal
import time

import pytest

from tests.training import programs
from tests.training.programs import assert_same_bits, final_state, finish, run, start, wait_for

LAST_STEP = 45


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("uninterrupted") / "run"
    status, output = run(directory)
    assert status == 0, output
    return directory


def records(directory, kind):
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return {r["step"]: {k: v for k, v in r.items() if k != "examples_per_second"}
            for r in map(json.loads, lines) if r["kind"] == kind}


def test_workdir_holds_all_that_was_promised(uninterrupted):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = json.loads((uninterrupted / "config.json").read_text())
    assert config["network"]["alpha"] == 0.2 and config["batch_size"] == 64
    assert sorted(records(uninterrupted, "train")) == list(range(5, 46, 5))
    assert sorted(records(uninterrupted, "test")) == [20, 40, 45]
    assert sorted(p.name for p in (uninterrupted / "figures").iterdir()) == [
        "curves.png", "signal_propagation_final.png", "signal_propagation_initial.png"]
    board = EventAccumulator(str(uninterrupted / "tensorboard")).Reload()
    logged = {e.step: e.value for e in board.Scalars("train/loss")}
    assert logged == pytest.approx(
        {step: r["loss"] for step, r in records(uninterrupted, "train").items()}, rel=1e-6)


def test_evaluate_repeats_the_last_evaluation(uninterrupted):
    status, output = run(uninterrupted, program="evaluate")
    assert status == 0, output
    got = json.loads(output.strip().splitlines()[-1])
    want = records(uninterrupted, "test")[LAST_STEP]
    assert got["step"] == LAST_STEP and got["count"] == 360
    assert got["accuracy"] == want["accuracy"] and got["loss"] == pytest.approx(want["loss"])


def test_evaluate_beside_a_running_run_changes_nothing(uninterrupted, tmp_path):
    directory = tmp_path / "run"
    process = start(directory)
    wait_for(lambda: (directory / "checkpoints" / "00000010").exists(), process)
    process.send_signal(signal.SIGSTOP)  # it may be in the middle of the next save
    status, output = run(directory, program="evaluate")
    process.send_signal(signal.SIGCONT)
    assert status == 0, output
    got = json.loads(output.strip().splitlines()[-1])
    assert got["step"] >= 10 and got["count"] == 360
    status, output = finish(process)
    assert status == 0, output
    assert_same_bits(final_state(directory), final_state(uninterrupted))


def test_second_start_says_what_the_cache_saved_and_ends_at_once(uninterrupted, tmp_path):
    status, output = run(tmp_path / "again")
    assert status == 0 and "s saved" in output, output
    status, output = run(uninterrupted)
    assert status == 0 and "continuing from the checkpoint of step 45" in output, output
    assert "accuracy" in output.splitlines()[-1]


def test_kill_at_random_moments_and_in_the_middle_of_a_save(uninterrupted, tmp_path):
    directory = tmp_path / "run"
    rng = random.Random(0)

    def is_saving():
        return any((directory / "checkpoints").glob("*tmp*"))

    def has_logged():
        file = directory / "metrics.jsonl"
        return file.exists() and file.stat().st_size > 0

    for moment in (is_saving, has_logged, is_saving):
        process = start(directory)
        wait_for(moment, process)
        if moment is has_logged:
            time.sleep(rng.uniform(0, 0.5))
        process.kill()
        status, _ = finish(process)
        assert status == -signal.SIGKILL
    status, output = run(directory)
    assert status == 0, output
    assert_same_bits(final_state(directory), final_state(uninterrupted))
    for kind in ("train", "test"):
        assert records(directory, kind) == records(uninterrupted, kind)


def test_sigterm_saves_and_exits_with_0(uninterrupted, tmp_path):
    directory = tmp_path / "run"
    process = start(directory)
    wait_for(lambda: (directory / "metrics.jsonl").exists()
             and (directory / "metrics.jsonl").stat().st_size > 0, process)
    process.send_signal(signal.SIGTERM)
    status, output = finish(process)
    assert status == 0, output
    assert "stopped by SIGTERM" in output
    status, output = run(directory)
    assert status == 0 and "continuing from" in output, output
    assert_same_bits(final_state(directory), final_state(uninterrupted))


def test_changed_config_is_refused_with_the_difference(uninterrupted):
    status, output = run(uninterrupted, "--config.optimizer.learning_rate=0.3")
    assert status == 2
    assert "optimizer.learning_rate: 0.1 -> 0.3" in output
    assert "Traceback" not in output


def test_two_runs_in_one_workdir_are_refused(tmp_path):
    first = start(tmp_path)
    wait_for(lambda: (tmp_path / "metrics.jsonl").exists(), first)
    first.send_signal(signal.SIGSTOP)
    status, output = run(tmp_path)
    first.kill()
    finish(first)
    assert status == 2 and "another process is training there" in output, output


def test_damaged_latest_checkpoint_is_reported_and_the_run_ends_the_same(uninterrupted, tmp_path):
    directory = tmp_path / "run"
    process = start(directory)
    wait_for(lambda: (directory / "checkpoints" / "00000020").exists(), process)
    process.kill()
    finish(process)
    latest = max(p for p in (directory / "checkpoints").iterdir() if p.name.isdecimal())
    for file in (latest / "default").rglob("d/*"):
        file.write_bytes(file.read_bytes()[:100])
    status, output = run(directory)
    assert status == 0, output
    assert f"checkpoint of step {int(latest.name)} is damaged" in output
    assert_same_bits(final_state(directory), final_state(uninterrupted))


def test_non_finite_loss_names_step_rate_and_last_good_checkpoint(tmp_path):
    status, output = run(
        tmp_path, "--config.optimizer.learning_rate=1e18", "--config.log_every=1",
        "--config.schedule.name=constant", "--config.schedule.final_fraction=1.",
        "--config.schedule.warmup_epochs=0.", "--config.checkpoint_every=1", quick=True)
    assert status == 3, output
    assert "Traceback" not in output
    assert not any("NaN" in line for line in (tmp_path / "metrics.jsonl").open())
    last = output.strip().splitlines()[-1]
    assert "in step" in last and "learning rate 1e+18" in last and "last good checkpoint" in last


def test_two_processes_train_evaluate_and_resume_like_one(uninterrupted, tmp_path):
    directory = tmp_path / "run"

    def start_both():
        address = f"127.0.0.1:{programs.free_port()}"
        return [start(directory, f"--coordinator_address={address}", "--num_processes=2",
                      f"--process_id={i}", quick=True) for i in range(2)]

    first, second = start_both()
    wait_for(lambda: (directory / "checkpoints" / "00000010").exists(), first)
    first.kill()
    second.kill()
    for process in (first, second):
        finish(process)
    outputs = [finish(process) for process in start_both()]
    assert [status for status, _ in outputs] == [0, 0], outputs
    assert "continuing from the checkpoint of step" in outputs[0][1]
    ours, alone = records(directory, "train"), records(uninterrupted, "train")
    assert ours.keys() == alone.keys()
    for step in ours:
        assert ours[step]["loss"] == pytest.approx(alone[step]["loss"], rel=2e-4)
    ours, alone = records(directory, "test"), records(uninterrupted, "test")
    for step in alone:
        assert ours[step]["count"] == 360
        assert ours[step]["loss"] == pytest.approx(alone[step]["loss"], rel=2e-4)


def test_sigterm_to_one_of_two_processes_stops_both_with_a_checkpoint(tmp_path):
    address = f"127.0.0.1:{programs.free_port()}"
    both = [start(tmp_path, f"--coordinator_address={address}", "--num_processes=2",
                  f"--process_id={i}", quick=True) for i in range(2)]
    wait_for(lambda: (tmp_path / "metrics.jsonl").exists()
             and (tmp_path / "metrics.jsonl").stat().st_size > 0, both[0])
    both[1].send_signal(signal.SIGTERM)
    outputs = [finish(process) for process in both]
    assert [status for status, _ in outputs] == [0, 0], outputs
    assert "stopped by SIGTERM" in outputs[0][1]
    assert any(p.name.isdecimal() for p in (tmp_path / "checkpoints").iterdir())
