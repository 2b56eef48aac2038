"""Citation data from files: a reference list as CSV, and SNAP's networks cit-HepPh and cit-HepTh.

Files are read line by line and may be compressed with gzip. Nothing in them stops the reading: what
cannot be used is set aside, counted and reported with the first line numbers. A reference is kept
if both papers have a year and the cited one's is not later; papers of one year may cite each other.
"""

import csv
import os
import re
from pathlib import Path

import numpy as np

from nfnets_jax.citations import arrivals as arrivals_lib
from nfnets_jax.citations.arrivals import Arrivals
from nfnets_jax.citations.records import NO_YEAR, Citations, Report, Table, assemble, read_lines

COLUMNS = ("paper", "year", "cited")
# A year, alone or at the start of a date.
YEAR = re.compile(r"(\d{4})(?:\.0+|-\d\d?(?:-\d\d?)?)?", re.ASCII)
# arXiv's identifiers until 2007: two digits of the year, two of the month, three of a number.
IDENTIFIER = re.compile(r"(9[1-9]|0[0-7])(?:0[1-9]|1[0-2])\d{3}", re.ASCII)
CROSS_LISTED = "11"


def read_csv(path: str | os.PathLike) -> tuple[Citations, Report]:
    """Reads a reference list: one line per reference, with the columns paper, year, cited.

    `year` is that of the citing paper, or its date from the year on. A paper without references has
    one line in which `cited` is empty. A first line with the three names gives the order of the
    columns, among others that are not read; without it there are these three. Identifiers are any
    text; those with a comma are quoted.

    Args:
      path: of the file.

    Raises:
      ValueError: if no paper with a year is left; the message has the report.
    """
    report, table = Report(), Table()
    known: dict[str, int] = {}
    columns, width = (0, 1, 2), 3
    is_first = True
    for number, place, text in read_lines(path, report):
        fields = _split(text)
        if is_first:
            is_first = False
            names = [field.strip().lower() for field in fields or ()]
            if set(COLUMNS) <= set(names):
                columns, width = tuple(names.index(name) for name in COLUMNS), len(names)
                report.remark("line with the names of the columns", place)
                continue
        if fields is None:
            report.put_aside("line whose quotes do not match", f"{place}: {text[:80]}")
            continue
        if len(fields) != width:
            report.put_aside(f"line that has not {width} fields", f"{place}: {text[:80]}")
            continue
        paper, year_text, cited = (fields[column].strip() for column in columns)
        if not paper:
            report.put_aside("line without a paper", f"{place}: {text[:80]}")
            continue
        source = table.number(paper, number)
        year = known.get(year_text)
        if year is None:
            year = known[year_text] = _year(year_text)
        if year == NO_YEAR:
            report.remark("line without a year that can be read", f"{place}: {text[:80]}")
        elif table.years[source] == NO_YEAR:
            table.years[source] = year
        elif table.years[source] != year:
            report.remark("another year than in an earlier line, which counts",
                          f"{place}: {paper} in {year}, not {table.years[source]}")
        if cited:
            table.cite(source, table.number(cited), number)
        else:
            report.remark("line without a reference", place)
    return assemble(table, report, path), report


def _split(text: str) -> list[str] | None:
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error:
        return None


def _year(text: str) -> int:
    match = YEAR.fullmatch(text)
    return int(match[1]) if match else NO_YEAR


def read_snap(
    edges: str | os.PathLike, dates: str | os.PathLike | None = None
) -> tuple[Citations, Report]:
    """Reads cit-HepPh or cit-HepTh of https://snap.stanford.edu/data.

    Each line of `edges` is a citing and a cited paper, numbers between blanks; each of `dates` a
    paper and the day of its submission. Lines that start with # are comments. Edges have the
    numbers without leading zeros, `dates` has them with seven digits: 1001 is 0001001, the first
    paper of January 2000. In `dates` an identifier that starts with 11 is that of a paper of
    another archive, cross-listed, behind the 11. Archives count on their own, so that such a number
    may be that of several papers: a date of this archive's own paper counts, and else the first
    one. Papers without a date get the year that the identifier starts with. Both are our choice.

    Args:
      edges: path of the citations.
      dates: path of the dates; None to take all years from the identifiers.

    Raises:
      ValueError: if no paper with a year is left; the message has the report.
    """
    report, table = Report(), Table()
    for number, place, text in read_lines(edges, report):
        fields = text.split()
        if text[0] == "#":
            report.remark("comment", place)
        elif len(fields) != 2 or not (text.isascii() and fields[0].isdigit()
                                      and fields[1].isdigit()):
            report.put_aside("line that is not two numbers", f"{place}: {text[:80]}")
        else:
            table.cite(table.number(fields[0].lstrip("0") or "0", number),
                       table.number(fields[1].lstrip("0") or "0", number), number)
    if dates is not None:
        _read_dates(dates, table, report)
    for identifier, paper in table.index.items():
        if table.years[paper] == NO_YEAR:
            match = IDENTIFIER.fullmatch(identifier.zfill(7))
            if match:
                table.years[paper] = int(match[1]) + (1900 if match[1][0] == "9" else 2000)
                report.remark("paper without a date, whose year is that of its identifier",
                              f"{identifier}: {table.years[paper]}")
    return assemble(table, report, edges), report


def _read_dates(path: str | os.PathLike, table: Table, report: Report) -> None:
    of_archive: dict[int, bool] = {}  # by paper, whether its date is that of no cross-listed one
    for _, place, text in read_lines(path, report):
        fields = text.split()
        if text[0] == "#":
            report.remark("comment", place)
            continue
        year = _year(fields[1]) if len(fields) == 2 else NO_YEAR
        if year == NO_YEAR or not (fields[0].isascii() and fields[0].isdigit()):
            report.put_aside("date that is not a number and a day", f"{place}: {text[:80]}")
            continue
        own = not fields[0].startswith(CROSS_LISTED)
        identifier = fields[0].removeprefix(CROSS_LISTED).lstrip("0") or "0"
        paper = table.index.get(identifier)
        if paper is None:
            report.put_aside("date of a paper without citations", f"{place}: {text[:80]}")
        elif paper not in of_archive or own > of_archive[paper]:
            if paper in of_archive:
                report.put_aside("date of another paper or again",
                                 f"{place}: replaces that of a cross-listed paper")
            table.years[paper], of_archive[paper] = year, own
        else:
            report.put_aside("date of another paper or again", f"{place}: {text[:80]}")


def write_csv(path: str | os.PathLike, citations: Citations) -> None:
    """Writes what `read_csv` reads, with the names of the columns in the first line."""
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for paper, (identifier, year) in enumerate(zip(citations.ids, citations.years.tolist(),
                                                       strict=True)):
            begin, end = citations.offsets[paper:paper + 2]
            cited = [citations.ids[target] for target in citations.targets[begin:end]] or [""]
            writer.writerows((identifier, year, other) for other in cited)


def replay(
    citations: Citations, *, last_seed_year: int, last_year: int | None = None
) -> tuple[Arrivals, np.ndarray, dict[str, int]]:
    """The arrivals of these papers: `arrivals.replay`, and what it leaves out.

    Args:
      citations: of the papers.
      last_seed_year: of the seed network.
      last_year: of the papers that arrive; None for all.

    Returns:
      The arrivals; int [N], the index of each paper in `citations`; and how many papers never enter
      the network, by reason.

    Raises:
      ValueError: see `arrivals.replay`.
    """
    years = citations.years
    citing = np.repeat(np.arange(len(years)), np.diff(citations.offsets))
    arrivals, papers = arrivals_lib.replay(years, citing, citations.targets,
                                           last_seed_year=last_seed_year, last_year=last_year)
    skipped = np.ones(len(years), bool)
    skipped[papers] = False
    early = years <= last_seed_year
    late = np.zeros(len(years), bool) if last_year is None else years > last_year
    return arrivals, papers, {
        "seeds without a citation among seeds": int(np.sum(skipped & early)),
        "papers without references": int(np.sum(skipped & ~early & ~late)),
        "papers after the last year": int(np.sum(skipped & late)),
    }
