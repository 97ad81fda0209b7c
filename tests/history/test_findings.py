"""history/findings.py, triage.py and `rollout-perf triage`: what people see to, and what they decide."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rollout_bench.cli import main as cli
from rollout_bench.errors import UsageError
from rollout_bench.history.detect import ChangePoint
from rollout_bench.history.findings import findings
from rollout_bench.history.results import Commit, Key
from rollout_bench.history.triage import Decision, read_triage, write_triage
from rollout_bench.report.change_points import environment
from rollout_bench.report.findings import state, summary
from rollout_bench.report.names import series_name
from rollout_bench.site.change_points import finding_data
from simulated import write_records, write_repository

ROOT = Path(__file__).resolve().parents[2]
A, B, C = (Commit(letter * 40, letter, number) for number, letter in enumerate("abc"))
VLLM = {"vllm": ("0.26.0", "0.27.0")}


def change_point(ratio=1.3, metric="step_seconds", path="zmq", last=A, first=B, environment=VLLM, **more):
    key = Key("box", "py3.12", "nano", 1, path, "fixed", "f", 8)
    facts = {
        "before": [last],
        "after": [first],
        "first": first,
        "last_before": last,
        "ratio": ratio,
        "interval": (ratio, ratio),
    }
    facts |= {"confidence": 0.99, "worse": ratio > 1, "reverted_by": None, "environment": environment}
    return ChangePoint(key, metric, **(facts | {"confirm": None, "bisect": None} | more))


def test_what_ran_and_its_lock_say_alike_is_told_once():
    """A release's change point named "vllm 0.25.0 -> 0.25.1" twice."""
    newer = VLLM | {"torch": ("2.9", "2.10")}
    locked = {"lock: vllm": VLLM["vllm"], "lock: torch": ("2.9.0", "2.10.0"), "lock: zstd": ("1", None)}
    shown = environment(newer | locked)
    assert shown == (
        "vllm 0.26.0 -> 0.27.0, torch 2.9 -> 2.10, lock: torch 2.9.0 -> 2.10.0, lock: zstd 1 -> absent"
    )
    [found] = findings([change_point(environment=newer | locked)], {})
    causes = [one["name"] for one in finding_data(found, {A: 0, B: 1})["cause"]]
    assert causes == ["lock: torch", "lock: zstd", "torch", "vllm"]


def test_one_range_and_cause_is_one_regression_with_its_step_time_first():
    points = [
        change_point(1.9, "wire_wait_seconds"), change_point(1.3), change_point(1.4, path="ray"),
        change_point(0.9, path="sync"), change_point(1.2, environment={}), change_point(1.1, last=B, first=C),
    ]  # fmt: skip
    found = findings(points, {})
    assert [(one.name, one.worse, [point.ratio for point in one.points]) for one in found] == [
        ("bbbbbbbb..cccccccc+vllm", True, [1.1]),
        ("aaaaaaaa..bbbbbbbb+vllm", True, [1.4, 1.3, 1.9]),
        ("aaaaaaaa..bbbbbbbb", True, [1.2]),
        ("aaaaaaaa..bbbbbbbb+vllm", False, [0.9]),
    ]
    assert summary(found[1]) == f"+40.0 % step time: {series_name(found[1].points[0].key)}; 2 more series"


NAME = "aaaaaaaa..bbbbbbbb+vllm"


@pytest.mark.parametrize(
    ("point", "decision", "is_open", "said"),
    [
        ({}, None, True, "open"),
        ({}, Decision("acknowledged", "2026-01-01"), True, "acknowledged"),
        ({}, Decision("expected", "2026-01-01"), False, "expected"),
        ({}, Decision("fixed", "2026-01-01", None, "cccccccc"), False, "fixed by cccccccc"),
        ({"reverted_by": C}, None, False, "reverted"),
        ({"state": "unconfirmed"}, None, False, "unconfirmed"),
        (
            {"ratio": 0.9},
            Decision("expected", "2026-01-01"),
            False,
            "lasting",
        ),  # it is of the regression there
    ],
)
def test_a_regression_is_open_until_it_is_gone_or_decided(point, decision, is_open, said):
    [found] = findings([change_point(**point)], {} if decision is None else {NAME: decision})
    assert (found.is_open, state(found)) == (is_open, said)


def test_decisions_are_read_as_they_were_written(tmp_path):
    assert read_triage(tmp_path) == {}
    decisions = {
        NAME: Decision("fixed", "2026-01-01", "twice as ö", "cccccccc"),
        "x": Decision("expected", "y"),
    }
    write_triage(tmp_path, decisions)
    assert read_triage(tmp_path) == decisions


def test_decisions_are_kept_where_new_ones_cannot_be_written(tmp_path, monkeypatch):
    write_triage(tmp_path, {"x": Decision("expected", "y")})

    def full(path, text, *more):
        path.write_bytes(text.encode()[:4])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space left"):
        write_triage(tmp_path, {"z": Decision("expected", "y")})
    assert read_triage(tmp_path) == {"x": Decision("expected", "y")}
    assert [one.name for one in tmp_path.iterdir()] == ["triage.json"]


def test_two_decisions_at_once_are_both_kept(tmp_path, monkeypatch, capsys):
    write_records(tmp_path, [Commit("a" * 40, "one", 1)], [8])
    write_triage(tmp_path, {name: Decision("acknowledged", "y") for name in "ab"})

    def slow(folder):
        found = read_triage(folder)
        time.sleep(0.3)
        return found

    monkeypatch.setattr(cli._load("triage"), "read_triage", slow)
    with ThreadPoolExecutor() as both:
        codes = both.map(
            lambda name: cli.main(["triage", name, "--expected", "--results", str(tmp_path)]), "ab"
        )
    assert [*codes] == [0, 0]
    assert {name: one.state for name, one in read_triage(tmp_path).items()} == dict.fromkeys("ab", "expected")
    assert not [*tmp_path.glob("*.lock")]


GOOD = {"state": "expected", "on": "2026-01-01"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not an object"),
        (json.dumps({NAME: []}), "not an object"),
        (json.dumps({NAME: GOOD | {"by": "me"}}), "unknown key 'by'; known: state, on, note, fixed_by"),
        (json.dumps({NAME: {"on": "2026-01-01"}}), "'state' is missing"),
        (json.dumps({NAME: GOOD | {"state": "ignored"}}), "'state'"),
        (json.dumps({NAME: GOOD | {"note": 5}}), "'note' is no text"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_in_a_line(text, said, tmp_path):
    (tmp_path / "triage.json").write_text(text)
    with pytest.raises(UsageError, match=r"triage\.json: ") as refused:
        read_triage(tmp_path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_triage_lists_regressions_and_keeps_what_is_decided(tmp_path, monkeypatch, capsys):
    commits = write_repository(tmp_path, 14)
    shutil.copy2(ROOT / "asv.conf.json", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    write_records(
        tmp_path / "results", commits, [8], {"zmq": 1.0}, ["step_seconds"],
        slower=lambda path, batch, number: 1.5 if number >= 7 else 1.0,
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    name = f"{commits[6].hash[:8]}..{commits[7].hash[:8]}"

    def said(*words, code=0):
        assert cli.main(["triage", *words]) == code
        out = capsys.readouterr()
        return out.err if code else out.out.splitlines()

    assert said()[2].startswith(f"{name}  open   +")
    assert json.loads(*said("--json")) == {"open": [name], "regressions": {name: None}}
    assert "'1a2b', which is no commit here" in said(name, "--fixed-by", "1a2b", code=2)
    assert f"no regression 'x'; there are: {name}" in said("x", "--expected", code=2)
    assert "a NAME takes --acknowledged" in said(name, code=2)
    assert "a NAME takes --acknowledged" in said("--expected", code=2)
    assert json.loads(*said(name, "--fixed-by", "HEAD", "--note", "gone", "--json"))["open"] == []
    [(kept, decision)] = read_triage(tmp_path / "results").items()
    assert (kept, decision.fixed_by, decision.note) == (name, commits[-1].hash[:8], "gone")
    assert json.loads(*said(name, "--reopen", "--json"))["open"] == [name]
    assert read_triage(tmp_path / "results") == {}
