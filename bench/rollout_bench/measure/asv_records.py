"""Where setup_cache leaves records for asv's history, and reports progress to those who watch.

Records lie beside asv's own results, as results/MACHINE/records/COMMIT-ENVIRONMENT-PRESET[-PART].jsonl:
they say why a value is absent, and what was really there when one was measured.
"""

import glob
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..schema import variables
from ..schema.record import Record, read_records
from .asv_process import machine_name, tell
from .labels import LABELS


def commit() -> str | None:
    """The commit that asv measures, if it is asv that runs this."""
    return os.environ.get("ASV_COMMIT")


def records_file(preset: str) -> Path | None:
    """The file for the records of a preset at the commit that asv measures; None outside asv."""
    folder, measured = os.environ.get("ASV_CONF_DIR"), commit()
    if not folder or not measured:
        return None
    results = _results_folder(Path(folder))
    records = results / machine_name() / "records"
    records.mkdir(parents=True, exist_ok=True)
    return records / f"{measured[:8]}-{os.environ.get('ASV_ENV_NAME', 'env')}-{preset}.jsonl"


def _results_folder(folder: Path) -> Path:
    lines = (folder / "asv.conf.json").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("//"))
    settings: dict[str, Any] = json.loads(text)
    return folder / str(settings.get("results_dir", "results"))


def save(records: Sequence[Record], path: Path) -> None:
    """Write records beside those that the file has of other paths, whole or not at all; what was kept on the
    way to them goes."""
    measured = {record.way for record in records}
    others = read_records(path.read_text()) if path.exists() else []
    both = [*(record for record in others if record.way not in measured), *records]
    order = {path: number for number, path in enumerate(LABELS)}
    both.sort(key=lambda record: order.get(record.path, len(order)))
    write_whole(path, "".join(record.to_json() + "\n" for record in both))
    for left in path.parent.glob(f"{glob.escape(path.stem)}*.unfinished"):
        left.unlink()


def write_whole(path: Path, text: str) -> None:
    """Write a file, or, where that fails, leave what was there."""
    scratch = path.with_suffix(".part")
    try:
        scratch.write_text(text)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def unfinished(path: Path, replicate: int = 0) -> Path:
    """The file in which the records for `path` gather while they are measured, one for each replicate.

    A run that is broken off leaves it, and the next one for that commit goes on from it.
    """
    return path.with_suffix(f".{replicate + 1}.unfinished" if replicate else ".unfinished")


def say(text: str) -> None:
    """Pass a line of progress to `rollout-perf track`, else to whoever watches asv, and to standard error."""
    line = f"{(commit() or '')[:8]} {text}".strip()
    print(line, file=sys.stderr, flush=True)
    target = os.environ.get(variables.PROGRESS)
    if target:
        with open(target, "a") as file:
            file.write(f"{time.time():.1f} {line}\n")
    else:
        tell(line)
