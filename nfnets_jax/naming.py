"""Guessing what a misspelt name was meant to be."""

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[str]) -> str:
    """Lists the known names that look most like `name`, or all of them if none does."""
    known = sorted(known)
    return ", ".join(difflib.get_close_matches(str(name), known, n=4) or known)
