"""The environment variables that steer the fake, and the notes that it leaves.

FAKE_NOTES       the folder of the notes: `starts`, `rollouts`, `pids`, a line each time
FAKE_BEHAVIOUR   words PATH:BEHAVIOUR; a path that is not named does well:
                   nowhere      the machine does not have the path
                   refuses      the start raises ConfigurationError
                   dies         the engine's process is killed at the start
                   hangs        the start never ends; `deaf`: nor does it at SIGINT
                   dies-at-N    it is killed in its Nth rollout
                   breaks-at-N  memory runs out at a batch of N
FAKE_PROBE       "real": the harness's own probe counts and times; else the fake answers
FAKE_NOISE       time passes on a clock of the fake's own, at the speed that speed.py says, and this is the
                 coefficient of variation from start to start; FAKE_SEED is its seed (see clock.py)
FAKE_ALONE       a rollout, from the second on, waits until no other path's worker runs, and notes in
                 `running` which do
"""

import os
from pathlib import Path


def of(path: str) -> str:
    """The behaviour of a path; empty where it does well."""
    words = dict(word.split(":") for word in os.environ.get("FAKE_BEHAVIOUR", "").split())
    return words.get(path, "")


def breaks_at(path: str) -> int:
    """The batch at which memory runs out; 0 for none."""
    return _number(path, "breaks-at-")


def dies_at(path: str) -> int:
    """The number of the rollout in which the process is killed; 0 for none."""
    return _number(path, "dies-at-")


def notes() -> Path:
    """The folder of the notes."""
    return Path(os.environ["FAKE_NOTES"])


def note(name: str, *words: object) -> int:
    """Append a line to a note; its number, which no other has."""
    with (notes() / name).open("a+") as file:
        print(*words, file=file, flush=True)
        end = file.tell()
        file.seek(0)
        return file.read(end).count("\n")


def _number(path: str, begin: str) -> int:
    return int(of(path).removeprefix(begin)) if of(path).startswith(begin) else 0
