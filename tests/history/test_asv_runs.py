"""history/asv_runs.py: asv's output is read to its end, whatever it is; a damaged file does not end asv.

A track that is killed does.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from asv.results import Results
from leaks import nothing_left
from rollout_bench.history import asv_runs

ROOT = Path(__file__).resolve().parents[2]
MACHINE = "box"

ASV = r"""#!/bin/sh
printf '\267 caf\351 \n'
i=0; while [ $i -lt 3000 ]; do echo "an installer says a line, longer than some, number $i"; i=$((i+1)); done
"""


@pytest.mark.timeout(30)
def test_a_byte_of_asv_that_is_no_text_does_not_stall_it(tmp_path, monkeypatch):
    """The reader ended at it in silence, and asv at a full pipe."""
    asv = tmp_path / "asv"
    asv.write_bytes(ASV.encode())
    asv.chmod(0o755)
    monkeypatch.setattr(asv_runs, "asv_command", lambda: str(asv))
    assert asv_runs.run_asv(tmp_path, ["HEAD"], [], "box", {}, print, lambda *_mark: None) == 0
    log = asv_runs.log_file(tmp_path)
    assert len(log.read_text(encoding="utf-8").splitlines()) == 3001


TRACK = """
import sys
from pathlib import Path
from rollout_bench.history import asv_runs
from rollout_bench.measure.marked import let_end
root = Path(sys.argv[1])
asv_runs.asv_command = lambda: str(root / "asv")
asv_runs.run_asv(root, ["HEAD"], [], "box", {}, lambda text: print(text, flush=True), let_end)
"""

ENDLESS = """#!/bin/sh
setsid sleep 300 &
echo "· measuring"
sleep 300
"""


def test_asv_and_all_below_it_end_with_a_track_that_is_killed(tmp_path, monkeypatch):
    """They went on to the end of the range: asv, its setup_cache and the engines."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    asv = tmp_path / "asv"
    asv.write_text(ENDLESS)
    asv.chmod(0o755)
    with nothing_left(files_of=tmp_path / "tmp", only=("process", "file")):
        words = [sys.executable, "-c", TRACK, tmp_path]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as track:
            assert "measuring" in track.stdout.readline()
            track.kill()


DAMAGED = [
    "",
    "[]",
    '{"version": 2, "commit',
    '{"version": 2}',
    "[" * 100_000,
    '{"version": 2, "results": 5}',
]


def test_what_asv_cannot_read_is_set_aside_and_said(tmp_path):
    """A full disk leaves an empty file: each run of that commit ended at it, as long as it was there."""
    results, said = tmp_path / "results", []
    shutil.copytree(ROOT / "results" / "h200-1x", results / MACHINE)
    good = sorted((results / MACHINE).glob("*-*.json"))
    assert good
    newer = results / MACHINE / "eeeeeeee-env.json"
    newer.write_text(json.dumps(json.loads(good[0].read_text()) | {"version": Results.api_version + 1}))
    bad = [results / MACHINE / f"{number}0000000-env" for number in range(len(DAMAGED))]
    for file, text in zip(bad, DAMAGED, strict=True):
        Path(f"{file}.json").write_text(text)
        Path(f"{file}.damaged-1.txt").write_text("an earlier one")
    asv_runs.set_damaged_aside(results, MACHINE, said.append)
    assert sorted((results / MACHINE).glob("*-*.json")) == sorted([*good, newer])
    assert [Path(f"{file}.damaged-2.txt").read_text() for file in bad] == DAMAGED
    names = [f"{file}.json, now {file.name}.damaged-2.txt" for file in bad]
    assert all(name in line for name, line in zip(names, said, strict=True))
    for file in good:
        Results.load(str(file))
