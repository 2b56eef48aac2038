"""Where the references of a replayed network really went."""

import numpy as np

from nfnets_jax.citations import histories, reading


def test_real_references_by_the_clock_of_the_replay(tmp_path):
    path = tmp_path / "references.csv"
    # x never arrives, since it cites nobody; y is not in the seed network; z comes too late.
    path.write_text("a,1989,\nb,1990,a\nw,1990,b\ny,1988,\nc,1991,a\nc,1991,b\nc,1991,y\nx,1991,\n"
                    "d,1993,c\nd,1993,x\nd,1993,a\nz,1994,a\n")
    citations, _ = reading.read_csv(path)
    arrivals, papers, skipped = reading.replay(citations, last_seed_year=1990, last_year=1993)
    assert skipped == {"seeds without a citation among seeds": 1, "papers without references": 1,
                       "papers after the last year": 1}
    real = histories.of_replay(citations, papers, arrivals, 1990)
    ids = [citations.ids[paper] for paper in papers]
    assert sorted(ids) == ["a", "b", "c", "d", "w"]
    # Years 0 (until 1990) to 3; y, a, b, w, c, x, d in the order of their years.
    np.testing.assert_array_equal(real.counts, [
        [0, 1, 0, 0], [1, 1, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1],
        [0, 0, 0, 0]])
    np.testing.assert_array_equal(real.published, [0, 0, 0, 0, 1, 1, 3])
    np.testing.assert_array_equal(real.is_seed, [False, True, True, True, False, False, False])
    assert real.counts.sum() == arrivals.num_references.sum()
