"""The profiler's traces that the site links: those that lie beside the records which name them."""

from collections.abc import Iterable
from pathlib import Path

from ..history.sessions import Session
from ..schema.record import Record
from .names import digest, plain_letters


def traces_of(kept: Iterable[tuple[Session, Record]]) -> list[Path]:
    """The profiler's traces that lie beside the records that name them; records may name any file."""
    named = {
        session.source.parent / Path(trace["trace"]).name: None
        for session, record in kept
        for trace in record.observed.get("traces", ())
        if str(trace.get("trace", "")).endswith(".json.gz")
    }
    return [file for file in named if file.is_file() and not file.is_symlink()]


def trace_name(file: Path) -> str:
    """Where the site has a trace: of two machines they may have the same name."""
    return f"traces/{digest(str(file.parent))}-{plain_letters(file.name.removesuffix('.json.gz'))}.json.gz"
