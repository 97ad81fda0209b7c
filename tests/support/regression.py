"""The history of docs/tutorial.md: commits, one of which makes the driver slower, with simulated results.

    python tests/support/regression.py FOLDER

FOLDER becomes a clone of this checkout with 14 more commits. One is a change of studies/planted.py: a driver
that computes 2 ms longer in each engine step. Figures are made up, of a machine called `tutorial`.
"""

import random
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from rollout_bench.history.results import Commit, history  # noqa: E402 - it runs from anywhere
from rollout_bench.measure.tracked import fixed  # noqa: E402
from rollout_bench.schema.record import MEASURED, Record  # noqa: E402

from studies import planted, planted_history  # noqa: E402

MACHINE, ENVIRONMENT, CONTROL = "tutorial", "virtualenv-py3.11", {"commit": "c" * 40, "lock": "made up"}
COMMITS, AT, SECONDS, STEPS = 14, 8, 0.002, 32


def write_commits(folder: Path) -> list[Commit]:
    """Clone, add the commits, and return them, oldest first."""
    planted_history.clone(folder)
    for machine in (folder / "results").glob("*/"):
        shutil.rmtree(machine)  # else their regressions are listed, too
    for number in range(COMMITS):
        if number == AT:
            subject = "Look at every message before it is sent"
            planted.change(folder, "driver", round(SECONDS * 1e6))
        else:
            subject = f"Note {number}"
            (folder / "NOTES").write_text(f"{subject}\n")
        planted_history.commit(folder, subject)
    return history(folder)[-COMMITS:]


def write_results(folder: Path, commits: list[Commit]) -> None:
    """What sessions with a control would have left, on a host that is slower now and then."""
    draw = random.Random(0)
    load = fixed("nano", [8])[0].as_dict()
    records = folder / "results" / MACHINE / "records"
    records.mkdir(parents=True)
    for number, commit in enumerate(commits):
        host = draw.choice([1.0, 1.0, 1.3, 1.6])
        lines = []
        for path in ("vllm-mp", "zmq"):
            more = SECONDS if path == "zmq" and number >= AT else 0.0
            own, control = _metrics(draw, host, more), _metrics(draw, host)
            pairs = zip(own["step_seconds"], control["step_seconds"], strict=True)
            own["control_ratio"] = [one / other for one, other in pairs]
            observed = {"control": CONTROL | {"metrics": control}}
            provenance = {
                "commit": commit.hash, "session": str(number), "versions": {"vllm": "0.32.0"}
            }  # fmt: skip
            lines.append(Record(path, "nano", 1, load, MEASURED, None, own, observed, provenance).to_json())
        (records / f"{commit.hash[:8]}-{ENVIRONMENT}-nano.jsonl").write_text("\n".join(lines) + "\n")


def _metrics(draw: random.Random, host: float, encode: float = 0.0) -> dict[str, list[float]]:
    """Of seven rounds: an engine step computes for 4 ms, and takes 1.8 ms more, of which the path has 0.2."""
    rounds = [host * draw.gauss(1, 0.02) for _ in range(7)]
    carry = [0.00005 * busy for busy in rounds]
    idle = [0.0018 * busy + encode for busy in rounds]
    return {
        "step_seconds": [STEPS * (0.004 * busy + one) for busy, one in zip(rounds, idle, strict=True)],
        "engine_step_seconds": [0.004 * busy + one for busy, one in zip(rounds, idle, strict=True)],
        "worker_idle_seconds": idle,
        "wire_encode_seconds": [one + encode for one in carry],
        **dict.fromkeys(("wire_send_seconds", "wire_receive_seconds", "wire_decode_seconds"), carry),
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/support/regression.py FOLDER")
    made = Path(sys.argv[1])
    write_results(made, write_commits(made))
