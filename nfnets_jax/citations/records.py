"""Papers and references as they are read from files, and what was found wrong with them."""

import gzip
import os
import zlib
from array import array
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

NO_YEAR = -1
NUM_EXAMPLES = 5


class Citations(NamedTuple):
    """Papers by year, those of one year in the order of the file.

    Attributes:
      ids: of the papers [N], as in the file.
      years: int32 [N], non-decreasing.
      targets: int32 [E], indices of the cited papers: first those that paper 0 cites.
      offsets: int32 [N + 1], where the references of each paper begin and end.
    """

    ids: list[str]
    years: np.ndarray
    targets: np.ndarray
    offsets: np.ndarray


class Report:
    """What was found in the files; `str` gives it as text.

    Attributes:
      num_lines: of all files.
      set_aside: by reason, how many are missing from the result: lines, or what the reason names.
      remarks: by kind, how many lines are odd and read all the same, or hold no reference.
      examples: by reason or kind, where the first of them are.
    """

    def __init__(self):
        self.num_lines = 0
        self.set_aside: dict[str, int] = {}
        self.remarks: dict[str, int] = {}
        self.examples: dict[str, list[str]] = {}

    def put_aside(self, reason: str, *places: str, count: int = 1) -> None:
        """Counts what is left out."""
        self.set_aside[reason] = self.set_aside.get(reason, 0) + count
        self._show(reason, places)

    def remark(self, kind: str, *places: str, count: int = 1) -> None:
        """Counts what is kept, or is no reference."""
        self.remarks[kind] = self.remarks.get(kind, 0) + count
        self._show(kind, places)

    def _show(self, kind: str, places: tuple[str, ...]) -> None:
        shown = self.examples.setdefault(kind, [])
        shown += places[:NUM_EXAMPLES - len(shown)]

    def __str__(self) -> str:
        lines = [f"{self.num_lines} lines"]
        for title, counts in (("set aside", self.set_aside), ("remark", self.remarks)):
            for kind, count in counts.items():
                lines.append(f"{title}: {count} x {kind}")
                lines += [f"    {place}" for place in self.examples[kind]]
        return "\n".join(lines)


class Table:
    """Papers and references as they are met.

    Attributes:
      index: of each identifier, in the order of the first mention.
      years: int [papers], `NO_YEAR` as long as there is none.
      listed: int [papers], the first line that makes a paper part of the data; 0 if it is only
        cited.
      sources: int [references], the citing paper.
      targets: the cited one.
      lines: where.
    """

    def __init__(self):
        self.index: dict[str, int] = {}
        self.years, self.listed = array("i"), array("q")
        self.sources, self.targets, self.lines = array("i"), array("i"), array("q")

    def number(self, identifier: str, line: int = 0) -> int:
        """The index of a paper, which a line other than 0 makes part of the data."""
        index = self.index.setdefault(identifier, len(self.years))
        if index == len(self.years):
            self.years.append(NO_YEAR)
            self.listed.append(line)
        elif line and not self.listed[index]:
            self.listed[index] = line
        return index

    def cite(self, source: int, target: int, line: int) -> None:
        """Adds a reference."""
        self.sources.append(source)
        self.targets.append(target)
        self.lines.append(line)


def read_lines(path: str | os.PathLike, report: Report) -> Iterator[tuple[int, str, str]]:
    """Number, place and text of each line that is not blank."""
    name, number = os.path.basename(path), 0
    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            for number, line in enumerate(gzip.open(file) if compressed else file, 1):
                report.num_lines += 1
                place = f"{name}, line {number}"
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                except UnicodeDecodeError:
                    text = line.decode("latin-1").strip()
                    report.remark("bytes that are not UTF-8, read as Latin-1", place)
                if text:
                    yield number, place, text
                else:
                    report.remark("blank line", place)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            report.remark("compressed data that break off or are damaged; nothing after is read",
                          f"{name}, line {number + 1}: {error}")


def assemble(table: Table, report: Report, path: str | os.PathLike) -> Citations:
    """Sets aside the references that cannot be used, and sorts the papers."""
    name, ids = os.path.basename(path), list(table.index)
    years, listed, sources, targets, lines = (
        np.array(values) for values in (table.years, table.listed, table.sources, table.targets,
                                        table.lines))
    kept = np.ones(len(sources), bool)

    def put_aside(reason, hit):
        hit &= kept
        count = int(hit.sum())
        if count:
            places = (f"{name}, line {lines[e]}: {ids[sources[e]]} cites {ids[targets[e]]}"
                      for e in np.flatnonzero(hit)[:NUM_EXAMPLES])
            report.put_aside(reason, *places, count=count)
            kept[hit] = False

    put_aside("reference of a paper to itself", sources == targets)
    put_aside("reference of a paper without a year", years[sources] == NO_YEAR)
    put_aside("reference to a paper that has no line (dangling)", listed[targets] == 0)
    put_aside("reference to a paper without a year", years[targets] == NO_YEAR)
    put_aside("reference to a paper of a later year", years[targets] > years[sources])
    pairs = sources * np.int64(max(len(ids), 1)) + targets
    again = kept.copy()
    again[np.flatnonzero(kept)[np.unique(pairs[kept], return_index=True)[1]]] = False
    put_aside("reference that an earlier line has", again)

    without = np.flatnonzero((listed > 0) & (years == NO_YEAR))
    if len(without):
        report.put_aside("paper without a year", *(
            f"{name}, line {listed[p]}: {ids[p]}" for p in without[:NUM_EXAMPLES]),
            count=len(without))
    order = np.lexsort((listed, years))
    order = order[((listed > 0) & (years != NO_YEAR))[order]]
    if len(order) == 0:
        raise ValueError(f"no paper with a year was read from {path}: {report}")
    rank = np.empty(len(ids), np.int32)
    rank[order] = np.arange(len(order))
    citing, cited = rank[sources[kept]], rank[targets[kept]]
    offsets = np.cumsum(np.bincount(citing + 1, minlength=len(order) + 1)).astype(np.int32)
    return Citations([ids[paper] for paper in order], years[order].astype(np.int32),
                     cited[np.argsort(citing, kind="stable")], offsets)
