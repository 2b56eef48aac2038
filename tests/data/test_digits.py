"""The embedded data sets: their contents, and their preparation under bad conditions."""

import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn import datasets

from nfnets_jax import data


@pytest.mark.parametrize(("split", "rows"), [("train", slice(1437)), ("test", slice(1437, None))])
def test_pixels_and_labels_are_scikit_learns(data_dir, split, rows):
    bunch = datasets.load_digits()
    (batch,) = data.eval_batches(
        "digits",
        split=split,
        image_size=8,
        batch_size=len(bunch.target[rows]),
        data_dir=data_dir,
    )
    np.testing.assert_array_equal(batch["image"][..., 0], 15 * bunch.images[rows])
    np.testing.assert_array_equal(batch["label"], bunch.target[rows])


def test_parity_is_that_of_the_digit(data_dir):
    batches = [next(data.eval_batches(name, split="train", image_size=8, batch_size=1437,
                                      data_dir=data_dir)) for name in ("digits", "digits_parity")]
    np.testing.assert_array_equal(batches[1]["image"], batches[0]["image"])
    np.testing.assert_array_equal(batches[1]["label"], batches[0]["label"] % 2)
    assert data.info("digits_parity").num_classes == 2


def test_permuted_pixels_and_labels_are_those_of_the_recipe(data_dir):
    bunch, random = datasets.load_digits(), np.random.RandomState(0)
    order = random.permutation(1797)
    redrawn = random.randint(0, 10, 204)
    expected = {
        "train": (order[:1024], bunch.target[order[:1024]]),
        "train_noisy": (order[:1024], np.append(redrawn, bunch.target[order[204:1024]])),
        "test": (order[1024:], bunch.target[order[1024:]]),
    }
    assert list(data.info("digits_permuted").splits) == list(expected)
    for split, (rows, labels) in expected.items():
        (batch,) = data.eval_batches(
            "digits_permuted", split=split, image_size=8, batch_size=len(rows), data_dir=data_dir)
        np.testing.assert_array_equal(batch["image"][..., 0], 15 * bunch.images[rows])
        np.testing.assert_array_equal(batch["label"], labels)
    # A redrawn label is the true one by chance, 1 time in 10.
    assert 170 < np.sum(redrawn != bunch.target[order[:204]]) < 204


_COUNT = """
import sys
from nfnets_jax import data
print(data.num_examples("digits", split="train", data_dir=sys.argv[1]))
"""

_KILLED = """
import os, sys
from nfnets_jax.data import digits
generate = digits.Digits._generate_examples
def die_half_way(self, images, labels):
    for key, example in generate(self, images, labels):
        if key == 100 and len(images) == 360:
            os._exit(9)
        yield key, example
digits.Digits._generate_examples = die_half_way
digits.prepare("digits", sys.argv[1])
"""


def _start(program, root):
    return subprocess.Popen(
        [sys.executable, "-c", program, str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )


def test_what_a_killed_preparation_leaves_is_not_taken_for_the_set(tmp_path):
    killed = _start(_KILLED, tmp_path)
    killed.communicate()
    assert killed.returncode == 9
    assert list(tmp_path.rglob("*array_record*")), "it was killed before it wrote anything"
    assert data.num_examples("digits", split="train", data_dir=tmp_path) == 1437
    assert data.num_examples("digits", split="test", data_dir=tmp_path) == 360


def test_processes_that_prepare_at_once_all_read_the_same_set(tmp_path):
    processes = [_start(_COUNT, tmp_path) for _ in range(2)]
    for process in processes:
        out, error = process.communicate()
        assert (out.strip(), process.returncode) == ("1437", 0), error
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["1.0.0"]


def test_a_lost_race_is_no_error(tmp_path, monkeypatch):
    """Another process finishes between the check and the rename."""
    from nfnets_jax.data import digits

    generate = digits.Digits._generate_examples

    def overtaken(self, images, labels):
        if not (tmp_path / "digits" / "1.0.0").exists():
            monkeypatch.setattr(digits.Digits, "_generate_examples", generate)
            digits.prepare("digits", tmp_path)
        yield from generate(self, images, labels)

    monkeypatch.setattr(digits.Digits, "_generate_examples", overtaken)
    digits.prepare("digits", tmp_path)
    assert data.num_examples("digits", split="test", data_dir=tmp_path) == 360
