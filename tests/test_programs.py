"""Wrong invocations end with one line that says what to do, and status 2; never a traceback."""

import pytest

from tests.training import programs
from tests.training.programs import finish, run, start

RUNNABLE = "from nfnets_jax.config import default_config\n"
FILES = {
    "none.py": "def get_config():\n    return None\n",
    "without.py": "x = 1\n",
    "broken.py": "import nothing_like_this\n",
    "text.py": RUNNABLE + "def get_config():\n    c = default_config()\n"
               "    c.batch_size = '64'\n    return c\n",
    "dict.py": RUNNABLE + "def get_config():\n    return default_config().to_dict()\n",
    "typo.py": RUNNABLE + "def get_config():\n    c = default_config()\n"
               "    c.batchsize = 64\n    return c\n",
}
TINY = f"--config={programs.CONFIG}"
WRONG = {
    "no config": ([], "--config is missing"),
    "no such file": (["--config=nope.py"], "nope.py"),
    "returns nothing": (["--config=none.py"], "get_config() returned None"),
    "no get_config": (["--config=without.py"], "no get_config()"),
    "broken import": (["--config=broken.py"], "nothing_like_this"),
    "wrong type in the file": (["--config=text.py"], "batch_size"),
    "unknown field in the file": (["--config=typo.py"], "batchsize: no such field"),
    "plain dict with a bad data set": (["--config=dict.py", "--config.dataset.name=digitz"],
                                       "nearest: digits"),
    "unknown variant": ([TINY + ":foo"], "network 'foo' is unknown"),
    "unknown override": ([TINY, "--config.optimizer.lr=1"], "optimizer.lr: no such field"),
    "unknown override, other spelling": (["--config", programs.CONFIG, "--config.lr=1"],
                                         "lr: no such field"),
    "override of another type": ([TINY, "--config.batch_size=abc"], "--config.batch_size=abc"),
    "unknown flag": ([TINY, "--wrkdir=x"], "Unknown command line flag 'wrkdir'"),
    "extra argument": ([TINY, "extra"], "unexpected argument 'extra'"),
    "bucket": ([TINY, "--workdir=gs://bucket/run"], "must be a folder"),
    "half of the trio": ([TINY, "--num_processes=2"], "give all three or none"),
    "missing data set": ([TINY, "--config.dataset.name=cifar10"], "tfds build cifar10"),
    "unknown split": ([TINY, "--config.dataset.train_split=trian"], "dataset.train_split='trian'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_invocation_is_answered_in_words(name, tmp_path):
    arguments, words = WRONG[name]
    for file, text in FILES.items():
        (tmp_path / file).write_text(text)
    arguments = [a.replace("--config=", f"--config={tmp_path}/") if a[9:] in FILES else a
                 for a in arguments]
    status, output = run(tmp_path / "run", *arguments, config=None)
    assert status == 2, output
    assert words in output and "Traceback" not in output
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("program", ["train", "evaluate", "report", "sweep", "analyze"])
def test_help_suffices(program, tmp_path):
    _, output = run(tmp_path, "--help", program=program)
    assert f"python -m nfnets_jax.{program}" in output and "--workdir" in output


def test_reports_draw_before_and_after_training(tmp_path):
    for network in ("nf_resnet_digits", "bn_resnet_digits"):
        status, output = run(
            tmp_path, "signal_propagation", f"--config={programs.CONFIG}:{network}",
            f"--output={tmp_path}/{network}.png", program="report", quick=True)
        assert status == 0 and "residual_variance:" in output, output
        assert (tmp_path / f"{network}.png").stat().st_size > 10000
    status, output = run(tmp_path, "curves", program="report")
    assert status == 2 and "holds no run" in output


def test_processes_with_different_configs_refuse_to_train(tmp_path):
    address = f"127.0.0.1:{programs.free_port()}"
    both = [start(tmp_path, f"--coordinator_address={address}", "--num_processes=2",
                  f"--process_id={i}", f"--config.seed={i}") for i in range(2)]
    outputs = [finish(process) for process in both]
    assert [status for status, _ in outputs] == [2, 2], outputs
    for _, output in outputs:
        assert "process 1 was started with another config than process 0" in output
