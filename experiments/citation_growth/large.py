"""A network of a million papers with 10 references on average, about what arXiv 2002.06628 has.

Reproduces: the size of its networks of computer science (more than 1.5 million papers, in the
    abstract of CACM 2015); the arrivals are those of `growing.py`, scaled.
Variants: ba, exact, a quarter of a minute; with_replacement, BA, seconds, and 1.1 GiB of memory at
    the most, with classification and figures (measured, two CPU cores). Fitness and distance cost
    as the 1.5th power of the number of papers and more: not measured at this size.
Expect: no result; for memory and time.

    python -m nfnets_jax.train --config=experiments/citation_growth/large.py:ba --workdir=runs/large
"""

from experiments.citation_growth import growing

VARIANTS = {"ba": "exact", "with_replacement": "with_replacement"}


def get_config(variant: str = "ba"):
    """The config of a run; `variant` is ba or with_replacement."""
    if variant not in VARIANTS:
        raise ValueError(f"{variant!r}: use {' or '.join(VARIANTS)}")
    config = growing.get_config()
    config.arrivals.num_papers = 10**6
    config.sampler = VARIANTS[variant]
    config.papers_per_step = 100_000
    return config
