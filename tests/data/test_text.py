"""Text as ids, and the streams and windows that it is cut into."""

import itertools
import math
import pydoc_data.topics

import numpy as np
import pytest

from nfnets_jax.data import text

TREEBANK = {
    "train": " the cat <unk> the mat \n the dog \n",
    "valid": " a cat \n",
    "test": " the bird <unk> \n",
}


@pytest.fixture
def treebank(tmp_path):
    for split, words in TREEBANK.items():
        (tmp_path / f"ptb.{split}.txt").write_text(words)
    return tmp_path


def numbered(count):
    """A corpus in which every token is its own place."""
    return np.arange(count, dtype=np.int32)


def test_characters_of_the_topics_spell_them():
    corpus = text.load_corpus("pydoc_topics", level="character")
    topics = pydoc_data.topics.topics
    expected = "\n".join(topics[name] for name in sorted(topics))
    spelled = "".join(corpus.vocabulary[i] for split in text.SPLITS for i in corpus.splits[split])
    seen = set(expected[: len(corpus.splits["train"])])
    assert spelled == "".join(c if c in seen else "<unk>" for c in expected)
    total = sum(len(ids) for ids in corpus.splits.values())
    assert len(corpus.splits["train"]) == math.floor(0.9 * total)
    assert abs(len(corpus.splits["valid"]) - len(corpus.splits["test"])) <= 1


def test_vocabulary_is_the_most_frequent_tokens_of_the_training_split():
    everything = text.load_corpus("pydoc_topics", level="word")
    counts = np.bincount(everything.splits["train"], minlength=len(everything.vocabulary))
    assert counts[0] == 0 and np.all(counts[1:] > 0) and np.all(np.diff(counts[1:]) <= 0)
    ties = [everything.vocabulary[i] for i in np.flatnonzero(counts == 1)]
    assert ties == sorted(ties) and len(ties) > 100
    small = text.load_corpus("pydoc_topics", level="word", vocabulary_size=100)
    assert small.vocabulary == everything.vocabulary[:100]
    for split in text.SPLITS:
        ids = everything.splits[split]
        np.testing.assert_array_equal(small.splits[split], np.where(ids < 100, ids, 0))


def test_corpus_is_read_once_and_cannot_be_written():
    first = text.load_corpus("pydoc_topics", level="character")
    second = text.load_corpus("pydoc_topics", level="character")
    assert first.splits["train"] is second.splits["train"]
    assert first.splits["train"].dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        first.splits["train"][0] = 1


def test_treebank_is_words_with_ends_of_lines(treebank):
    corpus = text.load_corpus("penn_treebank", data_dir=treebank)
    # Thrice, twice, then once each in order; <unk> has its place whatever its count.
    assert corpus.vocabulary == ("<unk>", "the", "<eos>", "cat", "dog", "mat")
    np.testing.assert_array_equal(corpus.splits["train"], [1, 3, 0, 1, 5, 2, 1, 4, 2])
    np.testing.assert_array_equal(corpus.splits["valid"], [0, 3, 2])
    np.testing.assert_array_equal(corpus.splits["test"], [1, 0, 0, 2])


def test_errors_name_the_file_and_the_remedy(treebank):
    (treebank / "ptb.valid.txt").write_bytes(b"caf\xe9 au lait\n")
    with pytest.raises(ValueError, match=r"ptb\.valid\.txt is not text in UTF-8: .* at byte 3"):
        text.load_corpus("penn_treebank", data_dir=treebank)
    (treebank / "ptb.valid.txt").write_text("")
    with pytest.raises(ValueError, match=r"ptb\.valid\.txt is empty"):
        text.load_corpus("penn_treebank", data_dir=treebank)
    (treebank / "ptb.valid.txt").unlink()
    with pytest.raises(FileNotFoundError) as error:
        text.load_corpus("penn_treebank", data_dir=treebank)
    assert str(error.value).startswith("ptb.valid.txt: ")
    for word in (str(treebank), "ptb.train.txt", "ptb.test.txt", "simple-examples.tgz"):
        assert word in str(error.value)
    with pytest.raises(ValueError, match="corpus 'pen_treebank' is unknown; nearest: penn_tree"):
        text.load_corpus("pen_treebank")
    with pytest.raises(ValueError, match="level='byte' is unknown; allowed: character, word"):
        text.load_corpus("pydoc_topics", level="byte")
    with pytest.raises(ValueError, match="use level='word'"):
        text.load_corpus("penn_treebank", level="character", data_dir=treebank)
    with pytest.raises(ValueError, match="batch_size=4 x sequence_length=6 is more than the 23 t"):
        text.token_batches(numbered(23), batch_size=4, sequence_length=6, seed=0)


def batches_of(count, steps, start_step=0, **arguments):
    arguments = {"batch_size": 4, "sequence_length": 6, "seed": 0, **arguments}
    stream = text.token_batches(numbered(count), start_step=start_step, **arguments)
    return list(itertools.islice(stream, steps))


def test_streams_are_contiguous_and_start_where_an_epoch_does():
    count, per_epoch = 103, 4  # streams of 25 tokens: four steps of six, one token left over
    batches = batches_of(count, 3 * per_epoch)
    offsets = []
    for step, batch in enumerate(batches):
        tokens = batch["tokens"]
        np.testing.assert_array_equal(np.diff(tokens, axis=1) % count, 1)
        np.testing.assert_array_equal(np.diff(tokens[:, 0]) % count, 25)
        np.testing.assert_array_equal(batch["is_start"], step % per_epoch == 0)
        if step % per_epoch:  # the last target of a step is the first input of the next
            np.testing.assert_array_equal(tokens[:, 0], batches[step - 1]["tokens"][:, -1])
        else:
            offsets.append(int(tokens[0, 0]))
    assert len(set(offsets)) == 3


@pytest.mark.parametrize("count, left_over", [(96, 0), (103, 7), (119, 23)])
def test_every_token_of_an_epoch_is_a_target_once(count, left_over):
    per_epoch = count // 24
    batches = batches_of(count, 2 * per_epoch)
    skipped = []
    for epoch in (batches[:per_epoch], batches[per_epoch:]):
        targets = np.concatenate([batch["tokens"][:, 1:].ravel() for batch in epoch])
        assert len(np.unique(targets)) == len(targets) == count - left_over
        skipped.append(set(range(count)) - set(targets.tolist()))
    assert left_over == 0 or skipped[0] != skipped[1]


def test_batch_is_a_function_of_the_seed_and_the_step():
    straight = batches_of(103, 11)
    for start in (1, 4, 7, 10):
        resumed = batches_of(103, 11 - start, start_step=start)
        for one, other in zip(straight[start:], resumed, strict=True):
            for name in ("tokens", "is_start"):
                np.testing.assert_array_equal(one[name], other[name])
    assert (batches_of(103, 1, seed=1)[0]["tokens"] != straight[0]["tokens"]).all()


def test_processes_share_the_rows_of_a_batch():
    whole = batches_of(103, 6)
    parts = [batches_of(103, 6, process_index=i, process_count=2) for i in (0, 1)]
    for step, batch in enumerate(whole):
        for name in ("tokens", "is_start"):
            np.testing.assert_array_equal(
                np.concatenate([part[step][name] for part in parts]), batch[name])
    with pytest.raises(ValueError, match="batch_size=4 is not divisible by the 3 processes"):
        batches_of(103, 1, process_count=3)
    for batch_size, count in itertools.product((1, 4), (2, 30, 31, 32)):
        def windows(i, n, batch_size=2 * batch_size, count=count):
            return [b["tokens"] for b in text.window_batches(
                numbered(count), batch_size=batch_size, sequence_length=5,
                process_index=i, process_count=n)]
        np.testing.assert_array_equal(
            np.concatenate(windows(0, 1)),
            np.concatenate([np.concatenate(pair) for pair in zip(
                windows(0, 2), windows(1, 2), strict=True)]))


@pytest.mark.parametrize("count", [2, 6, 30, 31, 32])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_windows_hold_every_target_once(count, batch_size):
    batches = list(text.window_batches(
        numbered(count), batch_size=batch_size, sequence_length=5))
    tokens = np.concatenate([batch["tokens"] for batch in batches])
    real = np.concatenate([batch["mask"] for batch in batches]) > 0
    assert tokens.shape == (batch_size * len(batches), 6) and tokens.dtype == np.int32
    np.testing.assert_array_equal(tokens[:, 1:][real], np.arange(1, count))
    np.testing.assert_array_equal(tokens[:, :-1][real], np.arange(count - 1))
    assert len(batches) == -(-math.ceil((count - 1) / 5) // batch_size)
