"""The papers of `citation_growth`, as its config asks for them: synthetic, or those of a file."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from nfnets_jax.citations import arrivals as arrivals_lib
from nfnets_jax.citations import histories, reading
from nfnets_jax.citations.arrivals import Arrivals
from nfnets_jax.citations.histories import Histories
from nfnets_jax.config import ConfigError, Fields, integer, number, text

FORMATS = ("csv", "snap")
# Kind of arrivals -> its fields and their defaults.
_SYNTHETIC = {"num_papers": None, "mean_references": 10.0, "seed": 0}
_KINDS: Mapping[str, Mapping[str, Any]] = {
    **{kind: _SYNTHETIC for kind in arrivals_lib.KINDS},
    "replay": {"path": None, "format": "csv", "dates": None, "last_seed_year": None,
               "last_year": None},
}

FIELDS: Fields = {
    "kind": text("growing", tuple(_KINDS)),
    "num_papers": integer(None, 200, 2**28),
    "mean_references": number(None, 1, 1000),
    "seed": integer(None, 0),
    "path": text(None),
    "format": text(None, FORMATS),
    "dates": text(None),  # of snap, the file of dates
    "last_seed_year": integer(None, 1),
    "last_year": integer(None, 1),
}


class Papers(NamedTuple):
    """The papers of a config.

    Attributes:
      arrivals: of all papers.
      real: the citations that they have in the file; None for synthetic papers.
      left_out: what of the file is not among them, in words; None for synthetic papers.
    """

    arrivals: Arrivals
    real: Histories | None = None
    left_out: str | None = None


def check(fields: dict[str, Any]) -> dict[str, Any]:
    """Fills in the defaults of the config's field `arrivals`, and checks that there are papers.

    Raises:
      ConfigError: naming the field, its value and what is allowed.
    """
    kind = fields["kind"]
    defaults = _KINDS[kind]
    for field, value in fields.items():
        if field != "kind" and field not in defaults and value is not None:
            raise ConfigError(f"arrivals.{field}={value!r}: kind={kind} has the fields "
                              f"{', '.join(defaults)}; unset it")
    fields = {**fields, **{field: default if fields[field] is None else fields[field]
                           for field, default in defaults.items()}}
    if kind == "replay":
        for field in ("path", "last_seed_year"):
            if fields[field] is None:
                raise ConfigError(f"arrivals.{field}=None: kind=replay needs it; set it, or use "
                                  f"one of {', '.join(arrivals_lib.KINDS)}")
        if fields["dates"] is not None and fields["format"] != "snap":
            raise ConfigError(f"arrivals.dates={fields['dates']!r}: belongs to format=snap, not to "
                              f"{fields['format']}; unset it")
    try:
        create(fields)
    except (ValueError, OSError) as error:
        is_of_field = any(str(error).startswith(f"{field}=") for field in fields)
        raise ConfigError(f"arrivals{'.' if is_of_field else ': '}{error}") from None
    return fields


def create(fields: Mapping[str, Any]) -> Papers:
    """The papers that checked fields ask for; a file is read once.

    Raises:
      ValueError: if there is no such network.
      OSError: if a file cannot be read.
    """
    return _create(**fields)


@functools.lru_cache(maxsize=4)
def _create(kind, num_papers, mean_references, seed, path, format, dates, last_seed_year,
            last_year):
    if kind != "replay":
        return Papers(arrivals_lib.synthetic(kind, num_papers=num_papers,
                                             mean_references=mean_references, seed=seed))
    citations, report = (
        reading.read_csv(path) if format == "csv" else reading.read_snap(path, dates))
    read = f"{report.num_lines} lines; set aside: {_list(report.set_aside)}"
    try:
        arrivals, papers, skipped = reading.replay(
            citations, last_seed_year=last_seed_year, last_year=last_year)
    except ValueError as error:
        raise ValueError(f"{error} ({read})") from None
    return Papers(arrivals, histories.of_replay(citations, papers, arrivals, last_seed_year),
                  f"{read}; not in the network: {_list(skipped)}")


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in counts.items() if count) or "nothing"
