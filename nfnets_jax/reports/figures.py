"""Writing figures to files."""

import os
import tempfile

from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")


def check_format(path: str | os.PathLike) -> None:
    """Raises a ValueError unless the file's suffix names a format that `save` writes."""
    if os.path.splitext(path)[1] not in FORMATS:
        raise ValueError(f"{os.fspath(path)}: must end in {', '.join(FORMATS)}")


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure, in the format of the suffix; the file appears complete or not at all.

    Raises:
      ValueError: if the suffix names no format that can be written.
    """
    check_format(path)
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(
        dir=folder, prefix=".figure-", suffix=os.path.splitext(path)[1])
    os.close(descriptor)
    try:
        figure.savefig(temporary, dpi=150)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
