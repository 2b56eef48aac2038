"""A working directory that cannot be used is refused in words, before anything is trained."""

import json
import os
import subprocess

import pytest

from nfnets_jax.training import workdir
from nfnets_jax.training.workdir import WorkdirError

CONFIG = {"seed": 0, "optimizer": {"learning_rate": 0.1}}


def test_the_same_config_opens_again_and_another_is_refused(tmp_path):
    os.close(workdir.open_workdir(tmp_path / "run", CONFIG))
    workdir.write_config(tmp_path / "run", CONFIG)
    os.close(workdir.open_workdir(tmp_path / "run", CONFIG))
    changed = {**CONFIG, "optimizer": {"learning_rate": 0.2}}
    with pytest.raises(WorkdirError, match=r"optimizer.learning_rate: 0.1 -> 0.2"):
        workdir.open_workdir(tmp_path / "run", changed)
    assert workdir.read_config(tmp_path / "run") == CONFIG


def test_a_config_that_never_ran_leaves_no_trace(tmp_path):
    os.close(workdir.open_workdir(tmp_path, CONFIG))
    os.close(workdir.open_workdir(tmp_path, {"seed": 1}))


def test_one_process_at_a_time(tmp_path):
    lock = workdir.open_workdir(tmp_path, CONFIG)
    with pytest.raises(WorkdirError, match="another process is training there"):
        workdir.open_workdir(tmp_path, CONFIG)
    os.close(lock)
    os.close(workdir.open_workdir(tmp_path, CONFIG))


def test_a_file_in_the_way_and_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run", "/proc/run"):
        with pytest.raises(WorkdirError, match="cannot be written"):
            workdir.open_workdir(path, CONFIG)


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_a_damaged_config_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(WorkdirError, match="config.json"):
        workdir.read_config(tmp_path)


@pytest.mark.parametrize("path", ["", "gs://bucket/run"])
def test_what_is_no_folder_is_refused(path):
    with pytest.raises(WorkdirError, match="must be a folder"):
        workdir.expand(path)


def test_home_is_expanded():
    assert workdir.expand("~/run") == workdir.Path.home() / "run"


def test_checkpoints_that_would_not_fit_are_refused(tmp_path):
    with pytest.raises(WorkdirError, match=r"MiB are free there; 2 checkpoints.*keep_checkpoints"):
        workdir.check_space(tmp_path, 2**60, keep=2)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)],
                             capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_noticed_before_training(small_disk):
    (small_disk / "fill").write_bytes(bytes(2**16 - 2**12))
    with pytest.raises(WorkdirError, match="No space left on device"):
        workdir.open_workdir(small_disk / "run", CONFIG)


def test_atomic_text_is_read_back(tmp_path):
    workdir.write_atomically(tmp_path / "a.json", json.dumps(CONFIG))
    assert json.loads((tmp_path / "a.json").read_text()) == CONFIG
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
