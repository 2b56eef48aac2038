"""Batches as functions of (seed, step), whatever the number of processes."""

import itertools

import numpy as np
import pytest

from nfnets_jax import data


def _train(data_dir, steps, **kwargs):
    settings = dict(
        name="digits", split="train", image_size=8, batch_size=100, seed=3, data_dir=data_dir
    )
    return list(itertools.islice(data.train_batches(**{**settings, **kwargs}), steps))


def _assert_same(batch, other):
    assert batch.keys() == other.keys()
    for key in batch:
        np.testing.assert_array_equal(batch[key], other[key], err_msg=key)


def _concatenate(batches):
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def _rows(batch):
    """Each example as bytes, so that multisets of examples can be compared."""
    flat = batch["image"].reshape(len(batch["image"]), -1)
    pairs = zip(flat, batch["label"], strict=True)
    return [image.tobytes() + bytes([label]) for image, label in pairs]


def test_every_epoch_is_another_permutation_of_the_split(data_dir):
    whole = next(data.eval_batches(
        "digits", split="train", image_size=8, batch_size=1437, data_dir=data_dir
    ))
    stream = _concatenate(_train(data_dir, 29))  # 2,900 examples: two epochs and a little
    rows, expected = _rows(stream), sorted(_rows(whole))
    first, second = rows[:1437], rows[1437:2874]
    assert sorted(first) == sorted(second) == expected
    # Equal images at equal places of two independent permutations: about 1 in 1,437.
    assert sum(a == b for a, b in zip(first, second, strict=True)) < 10
    assert sum(a == b for a, b in zip(first, _rows(whole), strict=True)) < 10


def test_batches_cross_the_border_between_epochs(data_dir):
    batch = _train(data_dir, 15)[14]
    np.testing.assert_array_equal(batch["index"], np.arange(1400, 1500))
    assert batch["image"].shape == (100, 8, 8, 1)


def test_a_batch_larger_than_the_split_holds_every_example_of_several_epochs(data_dir):
    (batch,) = _train(data_dir, 1, split="train[:7]", batch_size=21)
    rows = _rows(batch)
    assert sorted(rows[:7]) == sorted(rows[7:14]) == sorted(rows[14:])


def test_the_order_is_a_function_of_the_seed(data_dir):
    _assert_same(*_train(data_dir, 1), *_train(data_dir, 1))
    (one,), (other,) = _train(data_dir, 1), _train(data_dir, 1, seed=4)
    assert sum(a == b for a, b in zip(_rows(one), _rows(other), strict=True)) < 5


def test_the_next_seed_is_not_this_seed_one_epoch_later(data_dir):
    """Grain's own shuffle adds the epoch to the seed, which would make runs share their orders."""
    stream = _rows(_concatenate(_train(data_dir, 30)))
    following = _rows(_concatenate(_train(data_dir, 15, seed=4)))
    assert sum(a == b for a, b in zip(stream[1437:2800], following, strict=False)) < 10


@pytest.mark.parametrize("start", [1, 14, 40])
def test_a_stream_started_at_k_continues_an_uninterrupted_one(data_dir, start):
    uninterrupted = _train(data_dir, 43)[start:]
    continued = _train(data_dir, 43 - start, start_step=start)
    for batch, other in zip(uninterrupted, continued, strict=True):
        _assert_same(batch, other)


def test_a_far_step_is_reached_at_once(data_dir):
    (batch,) = _train(data_dir, 1, start_step=10**9)
    np.testing.assert_array_equal(
        batch["index"], (np.arange(100, dtype=np.uint64) + 10**11).astype(np.uint32)
    )


@pytest.mark.parametrize("count", [2, 4])
def test_processes_together_see_the_batches_of_one(data_dir, count):
    shares = [
        _train(data_dir, 20, process_index=index, process_count=count) for index in range(count)
    ]
    for whole, *parts in zip(_train(data_dir, 20), *shares, strict=True):
        _assert_same(whole, _concatenate(parts))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_random_crops_depend_on_the_index_alone(imagenet, count):
    root, _ = imagenet
    settings = dict(
        name="imagenet2012", batch_size=8, image_size=16, random_resized_crop=True, num_threads=2
    )
    whole = _train(root, 6, **settings)
    shares = [
        _train(root, 3, process_index=i, process_count=count, start_step=3, **settings)
        for i in range(count)
    ]
    for expected, *parts in zip(whole[3:], *shares, strict=True):
        _assert_same(expected, _concatenate(parts))
    # The same picture is cut differently in every epoch.
    by_label = {}
    for batch in whole:
        for image, label in zip(batch["image"], batch["label"], strict=True):
            by_label.setdefault(int(label), []).append(image)
    repeated = [views for views in by_label.values() if len(views) > 1]
    assert len(repeated) > 10
    assert all((views[0] != views[1]).any() for views in repeated)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize(("examples", "batch_size"), [(360, 40), (355, 100), (3, 8), (41, 4)])
def test_evaluation_covers_every_example_once(data_dir, examples, batch_size, count):
    shares = [
        list(
            data.eval_batches(
                "digits",
                split=f"test[:{examples}]",
                image_size=8,
                batch_size=batch_size,
                data_dir=data_dir,
                process_index=index,
                process_count=count,
            )
        )
        for index in range(count)
    ]
    assert {len(share) for share in shares} == {-(-examples // batch_size)}
    seen = _concatenate([batch for share in shares for batch in share])
    real = seen["mask"] == 1
    np.testing.assert_array_equal(np.sort(seen["index"][real]), np.arange(examples))
    assert set(np.unique(seen["mask"])) <= {0.0, 1.0}
    assert not seen["image"][~real].any() and not seen["label"][~real].any()
    whole = next(data.eval_batches(
        "digits", split=f"test[:{examples}]", image_size=8, batch_size=examples, data_dir=data_dir
    ))
    order = np.argsort(seen["index"][real])
    np.testing.assert_array_equal(seen["image"][real][order], whole["image"])
    np.testing.assert_array_equal(seen["label"][real][order], whole["label"])


def test_images_in_memory_are_resized_as_a_whole_and_cropped_on_request(cifar):
    root, content = cifar
    settings = dict(name="cifar10", split="test", batch_size=7, image_size=16)
    (plain,) = _train(root, 1, **settings)
    (cropped,) = _train(root, 1, random_resized_crop=True, num_threads=2, **settings)
    assert plain["image"].shape == cropped["image"].shape == (7, 16, 16, 3)
    # Resizing keeps the mean of an image; a crop of white noise is another image altogether.
    order = [
        int(np.argmin(np.abs(content["test"][0].mean((1, 2)) - image.mean((0, 1))).sum(1)))
        for image in plain["image"]
    ]
    np.testing.assert_array_equal(content["test"][1][order], plain["label"])
    np.testing.assert_array_equal(plain["label"], cropped["label"])
    assert (plain["image"] != cropped["image"]).mean() > 0.5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(batch_size=100, process_count=8), "batch_size=100 .* 8 processes; use 96 or 104"),
        (dict(batch_size=2, process_count=4), "batch_size=2 .* 4 processes; use 4"),
        (dict(batch_size=0), "batch_size=0 must be a whole number of at least 1"),
        (dict(process_index=2, process_count=2), "process_index=2 .* use 0 .. 1"),
        (dict(start_step=-1), "start_step=-1"),
        (dict(seed=-1), "seed=-1"),
        (dict(image_size=8.0), "image_size=8.0"),
        (dict(num_threads=0), "num_threads=0"),
    ],
)
def test_wrong_arguments_are_refused(data_dir, wrong, message):
    with pytest.raises(ValueError, match=message):
        _train(data_dir, 1, **wrong)
