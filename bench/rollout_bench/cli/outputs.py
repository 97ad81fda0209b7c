"""Whether a command can leave what it is asked to: checked before it measures, which takes long."""

import tempfile
from pathlib import Path

from ..errors import UsageError
from ..schema.record import read_records


def check_file(option: str, path: Path) -> None:
    """Raise UsageError where a file cannot be written. One that is not there is not left either."""
    try:
        new = not path.exists()
        with path.open("a"):
            pass
        if new:
            path.unlink()
    except OSError as error:
        raise UsageError(f"{option} is {str(path)!r}, which cannot be written: {error.strerror}") from None


def check_records_file(option: str, path: Path) -> None:
    """Raise UsageError where records cannot be added to a file, or it holds something and no record."""
    check_file(option, path)
    try:
        text = path.read_text() if path.is_file() else ""
        foreign = bool(text.strip()) and not read_records(text)
    except (OSError, UnicodeDecodeError):
        foreign = True
    if foreign:
        raise UsageError(
            f"{option} is {str(path)!r}, which holds something else than records: name a new file"
        )


def check_folder(what: str, folder: Path) -> None:
    """Make a folder where there is none. Raises UsageError where no file can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{what} is {str(folder)!r}, which cannot be written: {error.strerror}") from None
