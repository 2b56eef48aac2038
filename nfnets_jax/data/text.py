"""Text by name, as token ids, and its batches for language models, as functions of (seed, step)."""

import collections
import functools
import os
import pydoc_data.topics
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from nfnets_jax.data import reading
from nfnets_jax.data.loading import Batch, check_at_least, size_per_process
from nfnets_jax.naming import nearest

CORPORA = ("pydoc_topics", "penn_treebank")
LEVELS = ("character", "word")
SPLITS = ("train", "valid", "test")
UNKNOWN, END_OF_LINE = "<unk>", "<eos>"

_TREEBANK_SOURCE = "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz"


class Corpus(NamedTuple):
    """A text as numbers.

    Attributes:
      vocabulary: the token of each id; id 0 is `<unk>`, the others come in falling frequency.
      splits: 'train', 'valid' and 'test' -> int32 ids in the order of the text, read-only.
    """

    vocabulary: tuple[str, ...]
    splits: Mapping[str, np.ndarray]


def load_corpus(
    name: str,
    *,
    level: str = "word",
    vocabulary_size: int | None = None,
    data_dir: str | os.PathLike | None = None,
) -> Corpus:
    """Loads a text, once per process.

    `pydoc_topics` is what Python's `help()` says of the language, `pydoc_data.topics.topics`, in
    the order of the topics' names; its first 90% are for training and 5% each for validation and
    test. It comes with every CPython and differs between versions, so that losses can be compared
    within one version only. Its words are runs of letters and digits, single other signs, and
    `<eos>` for the end of a line.

    `penn_treebank` are the 10,000 words of Mikolov's preparation, in the three files
    ptb.{train,valid,test}.txt; words are what spaces separate, and `<eos>` the end of a line.

    Args:
      name: one of `CORPORA`.
      level: what a token is, one of `LEVELS`.
      vocabulary_size: of the training split's tokens so many are kept, `<unk>` included, the most
        frequent ones, and among equals the first in the order of their code points; default all.
      data_dir: folder of the three files; default `penn_treebank` in TFDS's folder, see
        `reading.resolve_data_dir`.

    Raises:
      ValueError: unknown name or level, or a file that is not text; see the message.
      FileNotFoundError: a file is missing; says which, and where they come from.
    """
    if name not in CORPORA:
        raise ValueError(f"corpus {name!r} is unknown; nearest: {nearest(name, CORPORA)}")
    if level not in LEVELS:
        raise ValueError(f"level={level!r} is unknown; allowed: {', '.join(LEVELS)}")
    if name == "pydoc_topics":
        return _load(name, level, vocabulary_size, None)
    if level != "word":
        raise ValueError(
            f"level={level!r}: penn_treebank is distributed as words, its rare ones replaced; use "
            "level='word'")
    folder = Path(data_dir).expanduser().absolute() if data_dir is not None else (
        reading.resolve_data_dir(None) / name)
    return _load(name, level, vocabulary_size, folder)


@functools.lru_cache(maxsize=4)
def _load(name: str, level: str, vocabulary_size: int | None, folder: Path | None) -> Corpus:
    if vocabulary_size is not None:
        check_at_least("vocabulary_size", vocabulary_size, at_least=2)
    tokens = _read_topics(level) if name == "pydoc_topics" else _read_treebank(folder)
    counts = collections.Counter(tokens["train"])
    counts.pop(UNKNOWN, None)
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    vocabulary = (UNKNOWN, *ranked)[:vocabulary_size]
    id_of = {token: number for number, token in enumerate(vocabulary)}
    splits = {}
    for split in SPLITS:
        ids = np.array([id_of.get(token, 0) for token in tokens[split]], np.int32)
        ids.flags.writeable = False
        splits[split] = ids
    return Corpus(vocabulary, MappingProxyType(splits))


def _read_topics(level: str) -> dict[str, list[str]]:
    topics = pydoc_data.topics.topics
    text = "\n".join(topics[name] for name in sorted(topics))
    tokens = list(text) if level == "character" else [
        END_OF_LINE if word == "\n" else word for word in re.findall(r"\w+|[^\w\s]|\n", text)]
    first, second = len(tokens) * 90 // 100, len(tokens) * 95 // 100
    return dict(zip(SPLITS, (tokens[:first], tokens[first:second], tokens[second:]), strict=True))


def _read_treebank(folder: Path) -> dict[str, list[str]]:
    files = {split: folder / f"ptb.{split}.txt" for split in SPLITS}
    missing = [file.name for file in files.values() if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{', '.join(missing)}: not in the folder {str(folder)!r} of penn_treebank; put "
            "ptb.train.txt, ptb.valid.txt and ptb.test.txt there, which are in "
            f"simple-examples/data of {_TREEBANK_SOURCE}, or set data_dir to their folder")
    return {split: _read_words(file) for split, file in files.items()}


def _read_words(file: Path) -> list[str]:
    try:
        words = file.read_text(encoding="utf-8").replace("\n", f" {END_OF_LINE} ").split()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not text in UTF-8: {error.reason} at byte {error.start}; "
                         "unpack it again from where it came from") from None
    if len(words) < 2:
        raise ValueError(f"{file} is empty; unpack it again from where it came from")
    return words


def stream_starts(
    num_tokens: int, batch_size: int, sequence_length: int, seed: int, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where in the corpus each sequence of some steps begins.

    The corpus is taken as a ring of N tokens. In an epoch it is cut, at an offset drawn from
    (seed, epoch), into `batch_size` streams of floor(N / batch_size) tokens; step k of the
    epoch reads the tokens k T, ..., (k + 1) T of each stream, those after the first as targets.
    So every token is a target once in an epoch, but for a remainder of less than batch_size T
    tokens, another in each epoch, which is none. The seed moves the borders of the streams, and
    those of the sequences, which gradients do not cross.

    Args:
      num_tokens: N, of the corpus.
      batch_size: of the global batch.
      sequence_length: T.
      seed: of the offsets, >= 0.
      start, stop: the steps start, ..., stop - 1 of the run.

    Returns:
      starts: int32 [stop - start, batch_size], the place of the first input.
      is_start: bool of the same shape, whether the streams begin, with nothing to remember.

    Raises:
      ValueError: the corpus is too short for a step.
    """
    per_epoch = steps_per_epoch(num_tokens, batch_size, sequence_length)
    epochs, places = np.divmod(np.arange(start, stop), per_epoch)
    offset = {epoch: np.random.default_rng([seed, epoch]).integers(num_tokens)
              for epoch in range(start // per_epoch, (stop - 1) // per_epoch + 1)}
    offsets = np.array([offset[epoch] for epoch in epochs.tolist()], np.int64)
    streams = np.arange(batch_size) * (num_tokens // batch_size)
    starts = (offsets + places * sequence_length)[:, None] + streams
    is_start = np.broadcast_to((places == 0)[:, None], starts.shape)
    return (starts % num_tokens).astype(np.int32), is_start.copy()


def steps_per_epoch(num_tokens: int, batch_size: int, sequence_length: int) -> int:
    """How many sequences of `sequence_length` a stream of the corpus holds.

    Raises:
      ValueError: not one.
    """
    steps = num_tokens // (batch_size * sequence_length)
    if steps == 0:
        raise ValueError(
            f"batch_size={batch_size} x sequence_length={sequence_length} is more than the "
            f"{num_tokens} tokens of the corpus; use a product of at most that")
    return steps


def token_batches(
    ids: np.ndarray,
    *,
    batch_size: int,
    sequence_length: int,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """This process's share of an endless stream of sequences; see `stream_starts`.

    Row b of batch k + 1 continues row b of batch k, within an epoch. Batch k is a function of
    (seed, k) alone, and processes share its rows, as in `loading.train_batches`.

    Args:
      ids: int32 [N], the corpus.
      batch_size: of the global batch, a multiple of `process_count`.
      sequence_length: T.
      seed: of the streams' offsets, >= 0.
      start_step: the first batch to yield.
      process_index, process_count: this process and their number.

    Returns:
      An iterator of dicts of n = batch_size / process_count rows: 'tokens' int32 [n, T + 1],
      inputs and, one further, targets; 'is_start' bool [n], whether the hidden state has to be
      reset before.

    Raises:
      ValueError: a wrong argument, see the message.
    """
    local_size = size_per_process(batch_size, process_index, process_count)
    check_at_least("sequence_length", sequence_length, at_least=1)
    check_at_least("seed", seed, at_least=0)
    check_at_least("start_step", start_step, at_least=0)
    steps_per_epoch(len(ids), batch_size, sequence_length)
    rows = slice(process_index * local_size, (process_index + 1) * local_size)
    places = np.arange(sequence_length + 1)

    def batches() -> Iterator[Batch]:
        step = start_step
        while True:
            starts, is_start = stream_starts(
                len(ids), batch_size, sequence_length, seed, step, step + 1)
            yield {"tokens": ids[(starts[0, rows, None] + places) % len(ids)],
                   "is_start": is_start[0, rows]}
            step += 1

    return batches()


def window_batches(
    ids: np.ndarray,
    *,
    batch_size: int,
    sequence_length: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """This process's share of one pass over a text, cut into windows that do not overlap.

    Every token but the first of the text is a target once. Each window is read from a hidden
    state of zeros, so that its first targets are predicted from less than what came before them,
    and the perplexity is a little higher than that of one long pass: the more, the shorter the
    windows.

    Args: as for `token_batches`.

    Returns:
      An iterator of dicts of n = batch_size / process_count rows: 'tokens' int32 [n, T + 1], and
      'mask' float32 [n, T], 1 for a target and 0 for filling.

    Raises:
      ValueError: a wrong argument, see the message.
    """
    local_size = size_per_process(batch_size, process_index, process_count)
    check_at_least("sequence_length", sequence_length, at_least=1)
    num_windows = -(-(len(ids) - 1) // sequence_length)
    places = np.arange(sequence_length + 1)

    def batches() -> Iterator[Batch]:
        for first in range(0, num_windows, batch_size):
            windows = first + process_index * local_size + np.arange(local_size)
            at = windows[:, None] * sequence_length + places
            yield {"tokens": np.where(at < len(ids), ids[np.minimum(at, len(ids) - 1)], 0),
                   "mask": (at[:, 1:] < len(ids)).astype(np.float32)}

    return batches()
