"""The table holds each chunk's rows whole, whatever cuts its writing short."""

import json
import os
import subprocess
import sys
import time

import pandas
import pytest

from nfnets_jax.config import default_config
from nfnets_jax.sweeps import leases, plan, table
from nfnets_jax.training.workdir import WorkdirError


def make_plan(seeds):
    config = default_config("noisy_quadratic")
    return plan.make_plan(config, [{"seed": seed, "optimizer.learning_rate": 0.5}
                                   for seed in range(seeds)])


@pytest.fixture
def workdir(tmp_path):
    for folder in ("journal", "curves"):
        (tmp_path / folder).mkdir()
    return tmp_path


def row(cell, loss=1.0):
    return {"cell": cell.key, "status": "done", "test_loss": loss}


def test_rows_come_back_in_the_order_of_the_plan_with_what_is_missing(workdir):
    swept = make_plan(3)
    table.write_plan(workdir, swept)
    cells = swept.cells
    table.commit(workdir, "b", [row(cells[2], 2.0)], {"seconds": 1})
    table.commit(workdir, "a", [row(cells[0], 0.5)], {"seconds": 2})
    loaded = table.load(workdir)
    assert [r["status"] for r in loaded.rows] == ["done", "missing", "done"]
    assert [r["seed"] for r in loaded.rows] == [0, 1, 2]
    assert loaded.varied == ("seed", "optimizer.learning_rate")
    assert loaded.base["optimizer"]["momentum"] == 0.0
    assert [entry["seconds"] for entry in table.read_log(workdir)] == [1, 2]
    assert list(pandas.read_json(workdir / "table.jsonl", lines=True).test_loss) == [2.0, 0.5]


def test_a_later_row_of_a_cell_replaces_the_earlier_one(workdir):
    swept = make_plan(1)
    table.write_plan(workdir, swept)
    table.commit(workdir, "a", [{"cell": swept.cells[0].key, "status": "crashed"}], {})
    table.commit(workdir, "a", [row(swept.cells[0])], {})
    assert [r["status"] for r in table.load(workdir).rows] == ["done"]
    assert len((workdir / "table.jsonl").read_text().splitlines()) == 2


def test_a_commit_that_is_cut_anywhere_is_completed(workdir):
    swept = make_plan(4)
    cells = swept.cells
    table.commit(workdir, "a", [row(cells[0])], {})
    before = (workdir / "table.jsonl").read_bytes()
    table.commit(workdir, "b", [row(cell) for cell in cells[1:]], {})
    after = (workdir / "table.jsonl").read_bytes()
    new = after[len(before):]
    for length in range(len(new) + 1):  # killed while the rows were being appended
        (workdir / "table.jsonl").write_bytes(before + new[:length])
        (workdir / "journal" / "b.jsonl").write_bytes(new)
        table.recover(workdir)
        assert (workdir / "table.jsonl").read_bytes() == after
        assert not list((workdir / "journal").glob("*.jsonl"))
    # Killed before the journal was whole: the chunk has not been run.
    (workdir / "table.jsonl").write_bytes(before)
    (workdir / "journal" / "b.jsonl.tmp").write_bytes(new[:50])
    table.recover(workdir)
    assert (workdir / "table.jsonl").read_bytes() == before


def test_a_growing_file_is_read_up_to_its_last_whole_line(workdir):
    (workdir / "table.jsonl").write_text(json.dumps({"cell": "a"}) + '\n{"cell": "b", "sta')
    assert list(table.read_rows(workdir)) == ["a"]


def test_curves_are_found_by_cell(workdir):
    curves = {"a": [{"step": 0}], "b": [{"step": 0}, {"step": 5}]}
    name = table.write_curves(workdir, "chunk", curves)
    assert table.load_curve(workdir, {"cell": "b", "curve": name}) == curves["b"]
    assert table.load_curve(workdir, {"cell": "c", "curve": None}) == []


def test_a_folder_without_a_sweep_is_named(tmp_path):
    with pytest.raises(WorkdirError, match="holds no sweep"):
        table.load(tmp_path)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(WorkdirError, match="not valid JSON"):
        table.load(tmp_path)


def test_leases_are_exclusive_end_with_the_holder_and_run_out(tmp_path):
    path = tmp_path / "chunk"
    lease = leases.acquire(path, 60)
    assert lease.is_held() and leases.acquire(path, 60) is None
    lease.release()
    assert not path.exists()

    # A worker that dies with its lease in its hands.
    program = f"""if True:
        import os, pathlib
        from nfnets_jax.sweeps import leases
        leases.acquire(pathlib.Path({str(path)!r}), 60)
        os._exit(0)"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert path.exists() and not leases.is_live(path, 60)
    second = leases.acquire(path, 60)
    assert second.is_held()

    # One that was silent for too long, as seen from another machine.
    path.write_text("elsewhere 1\n")
    assert leases.is_live(path, 60)
    os.utime(path, (time.time() - 100, time.time() - 100))
    third = leases.acquire(path, 60)
    assert third.is_held() and not second.is_held()
    second.release()  # does not take the other's lease away
    assert third.is_held()
    third.release()


def test_a_lease_is_kept_alive(tmp_path):
    path = tmp_path / "chunk"
    lease = leases.acquire(path, 0.4)
    time.sleep(1.0)
    assert leases.is_live(path, 0.4)
    lease.release()
