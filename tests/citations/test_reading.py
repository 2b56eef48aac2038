"""Readers of citation data, on small files with every kind of fault."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfnets_jax.citations import reading

CSV = b"""\
year,paper,title,cited
1990,a,First,
1990-05,b,"Second, and more",a

1991,c,Third,a
1991,c,Third,b
1991,c,Third,a
1991,c,Third,c
1992,c,Third,d
,d,Fourth,a
1993,e,Fifth,d
1993.0,"e, e",Sixth,c
1993,e,Fifth,nobody
1993,e
1993,f,"unclosed,a
1989,g,Early,b
soon,h,No year,a
1993,,Nameless,a
1994,i,Last,h
1994,i,Last,b
1990,i,Last,e
""".replace(b"Fifth,d", b"F\xefth,d")

KEPT = [("b", "a"), ("c", "a"), ("c", "b"), ("e, e", "c"), ("i", "b"), ("i", "e")]


def edges(citations):
    """(citing, cited) in the order of the result."""
    citing = np.repeat(np.arange(len(citations.years)), np.diff(citations.offsets))
    return [(citations.ids[i], citations.ids[j])
            for i, j in zip(citing, citations.targets, strict=True)]


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path
    return write


@pytest.mark.parametrize("compress", [False, True])
def test_csv_with_every_fault(write, compress):
    citations, report = reading.read_csv(
        write("list.csv", gzip.compress(CSV) if compress else CSV))
    assert citations.ids == ["g", "a", "b", "c", "e", "e, e", "i"]
    assert citations.years.tolist() == [1989, 1990, 1990, 1991, 1993, 1993, 1994]
    assert edges(citations) == KEPT
    assert citations.targets.dtype == citations.offsets.dtype == np.int32
    assert report.set_aside == {
        "line that has not 4 fields": 1,
        "line whose quotes do not match": 1,
        "line without a paper": 1,
        "reference of a paper to itself": 1,
        "reference of a paper without a year": 2,  # d and h cite a
        "reference to a paper that has no line (dangling)": 1,
        "reference to a paper without a year": 3,  # c and e cite d, i cites h
        "reference to a paper of a later year": 1,
        "reference that an earlier line has": 1,
        "paper without a year": 2,
    }
    assert report.remarks == {
        "line with the names of the columns": 1,
        "line without a reference": 1,
        "blank line": 1,
        "another year than in an earlier line, which counts": 2,
        "bytes that are not UTF-8, read as Latin-1": 1,
        "line without a year that can be read": 2,
    }
    # Every line is somewhere.
    no_references = sum(report.remarks[kind] for kind in (
        "line with the names of the columns", "line without a reference", "blank line"))
    lines_aside = sum(report.set_aside.values()) - report.set_aside["paper without a year"]
    assert report.num_lines == 21 == len(KEPT) + no_references + lines_aside
    assert report.examples["reference that an earlier line has"] == ["list.csv, line 7: c cites a"]
    assert report.examples["bytes that are not UTF-8, read as Latin-1"] == ["list.csv, line 11"]
    assert "set aside: 1 x reference to a paper of a later year" in str(report)
    assert "    list.csv, line 16: g cites b" in str(report)


def test_csv_without_names_of_columns_and_back(write, tmp_path):
    content = '2001,"x,y",1999\n10,2000,"x,y"\n'  # the first is a paper named 2001, without a year
    citations, report = reading.read_csv(write("a.csv", content + '"x,y",1999,\n"q""q",2000,10'))
    assert edges(citations) == [("10", "x,y"), ('q"q', "10")]
    assert report.set_aside["reference of a paper without a year"] == 1
    reading.write_csv(tmp_path / "b.csv", citations)
    again, report = reading.read_csv(tmp_path / "b.csv")
    assert again.ids == citations.ids and not report.set_aside
    for ours, theirs in zip(again[1:], citations[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_only_the_first_places_are_kept_and_all_are_counted(write):
    rows = "a,2000,\n" + "a,2000,a\n" * 1000
    _, report = reading.read_csv(write("many.csv", "\ufeff" + rows))
    assert report.set_aside == {"reference of a paper to itself": 1000}
    places = report.examples["reference of a paper to itself"]
    assert places == [f"many.csv, line {line}: a cites a" for line in range(2, 7)]


def test_nothing_left_is_an_error_with_the_report(write):
    with pytest.raises(ValueError, match="no paper with a year.*\n.*2 x line that has not 3"):
        reading.read_csv(write("bad.csv", "a b 1990\nc d 1991\n"))
    with pytest.raises(ValueError, match="0 lines"):
        reading.read_csv(write("empty.csv", ""))


def test_compressed_data_that_break_off(write):
    rows = "".join(f"p{i},{1950 + i % 7},\n" for i in range(40_000))
    compressed = gzip.compress(rows.encode())
    citations, report = reading.read_csv(write("cut.csv.gz", compressed[:len(compressed) // 2]))
    (kind,) = [kind for kind in report.remarks if kind.startswith("compressed data")]
    assert 5_000 < len(citations.ids) == report.num_lines < 40_000
    assert f"line {report.num_lines + 1}:" in report.examples[kind][0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=12) | st.sampled_from(
    [b"a,2000,b", b"b,1999,", b'"a",2000,"b"', b"a,2000,a", b"\x00,1,\xff", b"c,1998,a", b"#"])))
def test_no_bytes_stop_the_reading(tmp_path_factory, lines):
    path = tmp_path_factory.getbasetemp() / "fuzz"
    path.write_bytes(b"\n".join([b"z,2001,", *lines]))
    citations, report = reading.read_csv(path)
    sizes = np.diff(citations.offsets)
    assert np.all(sizes >= 0) and sizes.sum() == len(citations.targets)
    citing = np.repeat(citations.years, sizes)
    assert np.all(np.diff(citations.years) >= 0)
    assert np.all(citations.years[citations.targets] <= citing)
    aside = sum(report.set_aside.values()) - report.set_aside.get("paper without a year", 0)
    no_reference = sum(report.remarks.get(kind, 0) for kind in (
        "blank line", "line without a reference", "line with the names of the columns"))
    assert report.num_lines == len(citations.targets) + aside + no_reference
    try:
        reading.read_snap(path, path)
    except ValueError as error:
        assert "no paper with a year" in str(error)


SNAP = """\
# Directed graph (each unordered pair of nodes is saved once)
# FromNodeId\tToNodeId
1001\t9912001
1001\t9203001
9912001\t9203201
9912001\t9912001
9203201\t1001
9912001 9203201
9912001\tx
9203001\t77
"""
DATES = """\
# 11 before an identifier: cross-listed
9203201\t1992-03-01
119203001\t1992-04-08
119203001\t1993-01-01
119912001\t1998-12-31
9912001\t1999-12-05
119203201\t1995-01-01
0203075\t2002-03-07
9912001\tsoon
"""


def test_snap(write):
    citations, report = reading.read_snap(write("cit.txt", SNAP), write("dates.txt", DATES))
    # 0001001 is of January 2000, its date is missing; 77 is no identifier with a year.
    assert dict(zip(citations.ids, citations.years.tolist(), strict=True)) == {
        "9203001": 1992, "9203201": 1992, "9912001": 1999, "1001": 2000}
    assert edges(citations) == [("9912001", "9203201"), ("1001", "9912001"), ("1001", "9203001")]
    assert report.set_aside == {
        "line that is not two numbers": 1,
        "date of another paper or again": 3,
        "date of a paper without citations": 1,
        "date that is not a number and a day": 1,
        "reference of a paper to itself": 1,
        "reference to a paper without a year": 1,
        "reference to a paper of a later year": 1,
        "reference that an earlier line has": 1,
        "paper without a year": 1,
    }
    assert report.remarks == {"comment": 3, "paper without a date, whose year is that of its "
                              "identifier": 1}


def test_snap_without_dates(write):
    citations, _ = reading.read_snap(write("cit.txt", SNAP))
    assert citations.ids == ["9203001", "9203201", "9912001", "1001"]
    assert citations.years.tolist() == [1992, 1992, 1999, 2000]


def test_replay(write):
    rows = ("a,1990,\nb,1991,a\nlonely,1991,\nc,1992,b\nc,1992,a\nsilent,1992,\nd,1993,c\n"
            "d,1993,silent\ne,1999,a\n")
    citations, _ = reading.read_csv(write("list.csv", rows))
    arrivals, papers, left_out = reading.replay(citations, last_seed_year=1991, last_year=1995)
    assert [citations.ids[paper] for paper in papers] == ["a", "b", "c", "d"]
    assert arrivals.years.tolist() == [0, 0, 1, 2]
    assert arrivals.num_references.tolist() == [0, 1, 2, 2]
    assert (arrivals.num_seeds, arrivals.seed_targets.tolist()) == (2, [0])
    assert left_out == {"seeds without a citation among seeds": 1, "papers without references": 1,
                        "papers after the last year": 1}
    with pytest.raises(ValueError, match="last_seed_year=1990"):
        reading.replay(citations, last_seed_year=1990)
