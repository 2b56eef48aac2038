"""The sweep program: nothing is run twice, nothing is lost, whatever ends it."""

import json
import random
import signal
import time

import jax
import pytest

from nfnets_jax import tasks
from nfnets_jax.sweeps import extension, plan, table, worker
from nfnets_jax.sweeps.progress import SweepProgress
from nfnets_jax.training import mesh
from tests.sweeps import small_sweep
from tests.training import programs

CONFIG = "tests/sweeps/small_sweep.py"
# Four chunks, whose numbers do not depend on the machine's speed; populations are saved at once.
OPTIONS = ("--mapping=4", "--members=4", "--cpu_devices=1", "--checkpoint_seconds=0.01")


def start(directory, *arguments, config=CONFIG):
    return programs.start(directory, f"--config={config}", *OPTIONS, *arguments, program="sweep")


def run(directory, *arguments, config=CONFIG):
    return programs.finish(start(directory, *arguments, config=config))


def count_rows(directory):
    file = directory / "table.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sweep") / "uninterrupted"
    status, output = run(directory)
    assert status == 0, output
    assert "12 runs in 2 programs; 0 are done, 12 to go" in output
    assert "4 diverged, 8 done" in output
    return directory


def test_the_table_says_what_each_run_came_to(uninterrupted):
    loaded = table.load(uninterrupted)
    by_rate = {}
    for row in loaded.rows:
        by_rate.setdefault(row["optimizer.learning_rate"], []).append(row)
    assert {row["status"] for row in by_rate[1e30]} == {"diverged"}
    assert all(0 < row["diverged_at"] < 100 for row in by_rate[1e30])
    assert all(row["test_accuracy"] > 0.85 and row["steps"] == 400 for row in by_rate[0.1])
    assert {row["examples"] for row in by_rate[0.01]} == {400 * 32, 400 * 64}
    curve = table.load_curve(uninterrupted, by_rate[0.1][0])
    assert [point["step"] for point in curve] == list(range(0, 401, 20))
    assert [point["step"] for point in curve if "test_loss" in point] == [0, 100, 200, 300, 400]
    assert curve[-1]["test_loss"] == by_rate[0.1][0]["test_loss"]
    assert [entry["cells"] for entry in table.read_log(uninterrupted)] == [3, 3, 3, 3]


def test_five_kills_leave_the_same_table(uninterrupted, tmp_path):
    directory, rng = tmp_path / "sweep", random.Random(0)

    def saving():
        return any((directory / "partial").glob("*/*tmp*"))

    def rows(number):
        return lambda: count_rows(directory) >= number

    def claimed():
        return any((directory / "leases").glob("*")) and not rng.randrange(20)

    for moment in (claimed, saving, rows(3), saving, rows(6)):
        process = start(directory)
        programs.wait_for(moment, process)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        status, output = programs.finish(process)
        assert status == -signal.SIGKILL, output
    status, output = run(directory)
    assert status == 0 and "0 are done" not in output, output
    assert (directory / "table.jsonl").read_bytes() == (uninterrupted / "table.jsonl").read_bytes()
    curves = sorted((uninterrupted / "curves").iterdir())
    assert [f.name for f in sorted((directory / "curves").iterdir())] == [f.name for f in curves]
    for file in curves:
        assert (directory / "curves" / file.name).read_bytes() == file.read_bytes()
    assert not (directory / "partial").exists()


def test_sigterm_saves_and_the_same_command_goes_on(uninterrupted, tmp_path):
    directory = tmp_path / "sweep"
    process = start(directory, "--config.num_steps=1000000")
    programs.wait_for(lambda: any((directory / "partial").glob("*/record_*")), process)
    process.send_signal(signal.SIGTERM)
    status, output = programs.finish(process)
    assert status == 0 and "stopped by SIGTERM; the same command continues" in output, output
    assert count_rows(directory) == 0 and not list((directory / "leases").iterdir())


def test_two_workers_share_the_cells(uninterrupted, tmp_path):
    directory = tmp_path / "sweep"
    both = [start(directory) for _ in range(2)]
    outputs = [programs.finish(process) for process in both]
    assert [status for status, _ in outputs] == [0, 0], outputs
    assert sorted((directory / "table.jsonl").read_text().splitlines()) == sorted(
        (uninterrupted / "table.jsonl").read_text().splitlines())


def test_a_finished_sweep_ends_at_once_and_a_dry_run_leaves_no_trace(uninterrupted, tmp_path):
    before = {file: file.stat().st_mtime_ns for file in uninterrupted.rglob("*") if file.is_file()}
    status, output = run(uninterrupted)
    assert status == 0 and "12 are done, 0 to go" in output, output
    status, output = run(uninterrupted, "--dry_run")
    assert status == 0 and "12 runs in 2 programs" in output, output
    changed = {file.name for file, time in before.items() if file.stat().st_mtime_ns != time}
    assert changed <= {".lock"}, changed
    status, output = run(tmp_path / "new", "--dry_run", "--config.num_steps=20")
    assert status == 0 and "from a few steps" in output and "about" in output, output
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("arguments", "words"), [
    (("--config.optimizer.lr=1",), "optimizer.lr: no such field"),
    (("--mapping=fast",), "--mapping=fast: must be auto, vmap, map or a number"),
    (("--retry=diverged",), "--retry=diverged: only crashed"),
    (("--devices_per_member=2",), "--devices_per_member=2: does not divide the 1 devices"),
    (("--config.num_steps=-1",), "num_steps=-1: must be"),
])
def test_wrong_invocations_are_answered_in_words(arguments, words, tmp_path):
    status, output = run(tmp_path / "sweep", *arguments)
    assert status == 2 and words in output and "Traceback" not in output, output
    assert not (tmp_path / "sweep").exists()


def test_a_config_without_a_sweep_is_answered_in_words(tmp_path):
    status, output = run(tmp_path / "sweep", config="tests/tiny_config.py")
    assert status == 2 and "the file has no get_sweep()" in output, output


def work(directory, overrides, *, retry=(), **fields):
    """A worker in this process."""
    config = small_sweep.get_config()
    config.update({"num_steps": 20, "evaluate_every": 0, **fields})
    swept = plan.make_plan(config, overrides)
    worker.open_sweep(directory, swept)
    settings = worker.Settings(
        mesh.make_mesh(devices=jax.devices()[:1]), "vmap", retry, 60.0, 300.0, lambda: False,
        SweepProgress(swept, 0))
    assert worker.Worker(directory, swept, plan.make_chunks(swept, 8), settings).run()
    return table.load(directory).rows


def test_a_grown_grid_runs_the_new_cells_alone(tmp_path):
    rows = work(tmp_path, [{"seed": 0}, {"seed": 1}])
    grown = work(tmp_path, [{"optimizer.learning_rate": rate, "seed": seed}
                            for rate in (0.4, 0.1) for seed in range(3)])
    assert [entry["cells"] for entry in table.read_log(tmp_path)] == [2, 4]
    assert [row["status"] for row in grown] == ["done"] * 6
    assert [row["test_loss"] for row in grown[:2]] == [row["test_loss"] for row in rows]
    smaller = work(tmp_path, [{"seed": 1}])
    assert len(smaller) == 1 and smaller[0]["test_loss"] == rows[1]["test_loss"]
    assert len(table.read_log(tmp_path)) == 2


def test_crashed_cells_are_told_from_diverged_ones_and_run_again_on_request(tmp_path, monkeypatch):
    overrides = [{"batch_size": size, "optimizer.learning_rate": rate}
                 for size in (32, 64) for rate in (0.1, 1e30)]
    create = tasks.create

    def crash(config, *arguments):
        if config["batch_size"] == 64:
            raise RuntimeError("out of memory")
        return create(config, *arguments)

    monkeypatch.setattr(tasks, "create", crash)
    rows = work(tmp_path, overrides)
    assert [row["status"] for row in rows] == ["done", "diverged", "crashed", "crashed"]
    assert rows[2]["error"] == "RuntimeError: out of memory"
    monkeypatch.setattr(tasks, "create", create)
    assert work(tmp_path, overrides) == rows
    rows = work(tmp_path, overrides, retry=("crashed",))
    assert [row["status"] for row in rows] == ["done", "diverged", "done", "diverged"]
    assert [entry["cells"] for entry in table.read_log(tmp_path)] == [2, 2, 2]


def test_a_grid_is_widened_where_the_best_rate_is_at_its_edge(tmp_path):
    config = small_sweep.get_config()
    overrides = [{"optimizer.learning_rate": rate, "seed": seed}
                 for rate in (0.0001, 0.0002) for seed in (0, 1)]
    work(tmp_path, overrides)
    wider = extension.widen(table.load(tmp_path), best_k=None, select_on="train_loss")
    assert wider == [{"optimizer.learning_rate": rate, "seed": seed}
                     for rate in (0.0004, 0.0008) for seed in (0, 1)]
    longer = extension.extend(config, plan.make_plan(config, overrides), wider, 1)
    assert [cell.overrides for cell in longer.cells] == overrides + wider


def test_the_mapping_is_measured_once_and_kept(tmp_path):
    status, output = programs.run(
        tmp_path, f"--config={CONFIG}", "--cpu_devices=2", "--config.num_steps=30",
        program="sweep")
    assert status == 0 and "mapping over 16 members:" in output, output
    kept = json.loads((tmp_path / "mapping.json").read_text())
    assert str(kept["mapping"]) in kept["seconds_per_step"]
    assert output.count("mapping over") == 1
