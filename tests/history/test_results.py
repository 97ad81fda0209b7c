"""history/results.py: all that results/ holds, in the history's order; what is damaged is named."""

import contextlib
import functools
import json
import math
import os
import subprocess
from pathlib import Path

import pytest
from rollout_bench.history.results import Commit, history, read_results
from rollout_bench.measure.tracked import fixed
from rollout_bench.schema.record import ABSENT, MEASURED, Record, read_records

ROOT = Path(__file__).resolve().parents[2]
NAN = float("nan")
NESTED = functools.reduce(lambda inside, _: [inside], range(150), 0)
OLD, NEW = Commit("a" * 40, "old", 100), Commit("b" * 40, "new", 200)


def line(commit: Commit, path: str, batch: int, samples: list[float], **more: dict) -> str:
    return Record(
        path,
        "nano",
        1,
        fixed("nano", [batch])[0].as_dict(),
        MEASURED if samples else ABSENT,
        metrics=({"step_seconds": samples} if samples else {}) | more.get("metrics", {}),
        observed=more.get("observed", {}),
        provenance={"commit": commit.hash} | more.get("provenance", {}),
    ).to_json()


@pytest.fixture
def folder(tmp_path):
    """results/ of one machine with two commits; the name of a file holds the first 8 digits of the commit."""
    records = tmp_path / "results" / "box" / "records"
    records.mkdir(parents=True)
    for commit, seconds in ((NEW, 2.0), (OLD, 1.0)):
        lines = [line(commit, "zmq", 8, [seconds] * 7), line(commit, "vllm-ray", 8, [])]
        (records / f"{commit.hash[:8]}-virtualenv-py3.11-nano.jsonl").write_text("\n".join(lines))
    (records.parent / "machine.json").write_text('{"machine": "box", "gpu": "none"}')
    return tmp_path / "results"


def test_points_come_in_the_order_of_the_history_by_series(folder):
    results = read_results(folder, [OLD, NEW])
    assert results.machines == {"box": {"machine": "box", "gpu": "none"}}
    [(key, points)] = results.series("step_seconds").items()
    assert (key.machine, key.environment, key.path, key.batch) == ("box", "virtualenv-py3.11", "zmq", 8)
    assert [(point.commit, point.samples("step_seconds")[0]) for point in points] == [(OLD, 1.0), (NEW, 2.0)]
    assert [point.commit for point in read_results(folder, [NEW, OLD]).series("step_seconds")[key]] == [
        NEW,
        OLD,
    ]
    assert len(results.series()) == 2  # the absent one has points, without samples
    assert results.damaged == []


def test_series_that_are_kept_are_of_these_results(folder):
    """They are made once, since each is asked for many times; a part of the results has its own."""
    results = read_results(folder, [OLD, NEW])
    assert len(results.series("step_seconds")) == 1
    results.series("step_seconds").clear()
    assert len(results.series("step_seconds")) == 1
    assert results.of_machines([]).series("step_seconds") == {}


@pytest.mark.parametrize("measured", [OLD, NEW])
def test_what_commits_share_is_a_point_of_the_first_of_them(measured, folder):
    """One measurement would be several commits' that agree, and so a change that lasts."""
    records = folder / "box" / "records"
    for commit in (OLD, NEW):
        own = {} if commit == measured else {"of_commit": measured.hash}
        file = next(records.glob(f"{commit.hash[:8]}-*"))
        file.write_text(line(commit, "zmq", 8, [1.0] * 7, provenance=own | {"measured_at": "then"}))
    results = read_results(folder, [OLD, NEW])
    [points] = results.series("step_seconds").values()
    assert [point.commit for point in points] == [OLD]
    assert [point.commit for point in results.points] == [OLD, NEW]
    again = line(measured, "zmq", 8, [2.0] * 7, provenance={"measured_at": "later"})
    next(records.glob(f"{measured.hash[:8]}-*")).write_text(again)
    [points] = read_results(folder, [OLD, NEW]).series("step_seconds").values()
    assert [point.commit for point in points] == [OLD, NEW]


def test_a_count_of_before_it_was_exact_is_no_part_of_its_series(folder):
    """It is another figure, and the change from one to the other no change of the system under test."""
    files = {commit: folder / "box" / "records" / f"{commit.hash[:8]}-virtualenv-py3.11-nano.jsonl"
             for commit in (OLD, NEW)}  # fmt: skip
    old = line(OLD, "zmq", 8, [1.0] * 7, metrics={"wire_bytes": [1700.0, 1722.0, 1705.0]})
    files[OLD].write_text(old)
    files[NEW].write_text(
        line(
            NEW,
            "zmq",
            8,
            [1.0] * 7,
            metrics={"wire_bytes": [1722.75]},
            observed={"counted": {"wire_bytes": 1}},
        )
    )
    results = read_results(folder, [OLD, NEW])
    assert [point.commit for point in next(iter(results.series("wire_bytes").values()))] == [NEW]
    assert [point.commit for point in next(iter(results.series("step_seconds").values()))] == [OLD, NEW]
    files[NEW].unlink()
    [points] = read_results(folder, [OLD, NEW]).series("wire_bytes").values()
    assert points[0].samples("wire_bytes") == [1700.0, 1722.0, 1705.0]


def test_what_another_engine_of_the_same_preset_measured_is_a_series_of_its_own(folder):
    """asv's class for the limit measures batch 8 as well, with an engine sized for larger ones."""
    file = folder / "box" / "records" / f"{NEW.hash[:8]}-virtualenv-py3.11-nano-rl.jsonl"
    file.write_text(line(NEW, "zmq", 8, [9.0] * 7))
    series = read_results(folder, [OLD, NEW]).series("step_seconds")
    assert [key.environment for key in series] == ["virtualenv-py3.11", "virtualenv-py3.11-rl"]
    assert [len(points) for points in series.values()] == [2, 1]


def test_commits_that_the_history_does_not_hold_come_by_the_date_that_asv_has_kept(folder):
    for commit, date in ((OLD, 9_000_000), (NEW, 5_000_000)):
        content = {"commit_hash": commit.hash, "date": date}
        (folder / "box" / f"{commit.hash[:8]}-virtualenv-py3.11.json").write_text(json.dumps(content))
    [points] = read_results(folder).series("step_seconds").values()
    assert [(point.commit.hash, point.commit.time) for point in points] == [
        (NEW.hash, 5000),
        (OLD.hash, 9000),
    ]


def test_what_is_damaged_is_named_and_the_rest_is_read(folder):
    records = folder / "box" / "records"
    good = line(NEW, "ray", 8, [3.0] * 7)
    strange = json.loads(good) | {"schema": 99}
    without = json.loads(good) | {"workload": {"name": "fixed"}}
    odd = json.loads(good) | {"metrics": {"step_seconds": "fast"}}
    lines = [good, good[:50], "[]", json.dumps(strange), json.dumps(without), json.dumps(odd)]
    (records / "bbbbbbbb-virtualenv-py3.11-more.jsonl").write_text("\n".join(lines))
    (records / "cccccccc-virtualenv-py3.11-nano.jsonl").write_bytes(b"\xff\xfe")
    (folder / "box" / "machine.json").write_text("{")
    (folder / "box" / "dddddddd-virtualenv-py3.11.json").write_text("[]")
    results = read_results(folder, [OLD, NEW])
    assert len(results.series("step_seconds")) == 2
    assert results.machines == {"box": {}}
    reported = [(damage.source.name, damage.line) for damage in results.damaged]
    name = "bbbbbbbb-virtualenv-py3.11-more.jsonl"
    assert sorted(reported, key=str) == sorted(
        [
            ("machine.json", None),
            ("dddddddd-virtualenv-py3.11.json", None),
            ("cccccccc-virtualenv-py3.11-nano.jsonl", 1),
            *((name, number) for number in (2, 3, 4, 5, 6)),
        ],
        key=str,
    )
    assert "schema 99" in str(next(damage for damage in results.damaged if damage.line == 4))
    assert results.damaged_lines() == [str(damage) for damage in results.damaged]


@contextlib.contextmanager
def somebody():
    """Who is not root, which reads everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize(
    ("locked", "mode", "named", "machines", "count"),
    [
        ("box/records", 0o000, ["box/records"], ["box", "other"], 0),
        ("box/records", 0o444, ["box/records/aaaaaaaa", "box/records/bbbbbbbb"], ["box", "other"], 0),
        ("box/pipe", 0o000, ["box/pipe"], ["box", "other"], 4),
        ("box/turns", 0o000, ["box/turns"], ["box", "other"], 4),
        ("box", 0o000, ["box"], ["box", "other"], 0),
        ("box", 0o444, ["box/machine.json", "box/records", "box/pipe", "box/turns"], ["box", "other"], 0),
        (".", 0o000, ["."], [], 0),
        (".", 0o444, ["box", "other"], [], 0),
    ],
)
def test_a_folder_that_may_not_be_read_is_damaged(locked, mode, named, machines, count, folder, monkeypatch):
    for name in ("box/pipe", "box/turns", "other"):
        (folder / name).mkdir()
    folder.parent.chmod(0o755)  # pytest's is for its user alone, who is somewhere in it
    monkeypatch.chdir(folder.parent)
    (folder / locked).chmod(mode)
    try:
        with somebody():
            results = read_results(Path("results"), [OLD, NEW])
    finally:
        (folder / locked).chmod(0o755)
    sources = [str(damage.source.relative_to("results")) for damage in results.damaged]
    assert [source.partition("-virtualenv")[0] for source in sources] == named
    assert all("Permission denied" in line for line in results.damaged_lines())
    assert (list(results.machines), len(results.points)) == (machines, count)


def test_a_file_in_the_place_of_a_folder_is_damaged(folder):
    (folder / "box" / "pipe").touch()
    [line] = read_results(folder, [OLD, NEW]).damaged_lines()
    assert line.startswith(f"{folder}/box/pipe: ")
    assert "Not a directory" in line


def test_of_many_damaged_files_the_first_are_named_and_the_others_counted(folder):
    (folder / "box" / "records" / "junk.jsonl").write_text("x\n" * 10_000)
    lines = read_results(folder, [OLD, NEW]).damaged_lines()
    assert len(lines) == 21
    assert lines[-1].startswith("and 9980 more")


@pytest.mark.parametrize(
    ("odd", "reported"),
    [
        ({"workload": {"name": "fixed", "fingerprint": ["0"], "batch": 8}}, "the workload's 'fingerprint'"),
        ({"workload": {"name": "fixed", "fingerprint": "0", "batch": {}}}, "the workload's 'batch'"),
        ({"provenance": {"commit": 5}}, "the provenance's 'commit'"),
        ({"provenance": {"versions": ["vllm"]}}, "the provenance's 'versions'"),
        ({"provenance": {"machine": 5}}, "the provenance's 'machine'"),
        ({"provenance": {"machine": {"gpus": "H100"}}}, "the machine's 'gpus'"),
        ({"provenance": {"machine": {"gpus": [None]}}}, "the machine's 'gpus'"),
        ({"metrics": {"step_seconds": [None]}}, "the metrics' 'step_seconds'"),
        ({"metrics": {"step_seconds": [1.0, NAN]}}, "the metrics' 'step_seconds'"),
        ({"metrics": {"step_seconds": [-math.inf]}}, "the metrics' 'step_seconds'"),
        ({"metrics": {"step_seconds": [10**400]}}, "the metrics' 'step_seconds'"),
        ({"metrics": {"step_seconds": [1e308]}}, "the metrics' 'step_seconds'"),
        ({"metrics": {"step_seconds": [5e-324]}}, "the metrics' 'step_seconds'"),
        ({"metrics": {"step_seconds": [True]}}, "the metrics' 'step_seconds'"),
        ({"observed": {"engine_starts": NAN}}, "the observed's 'engine_starts'"),
        ({"observed": {"counted": 5}}, "the observed's 'counted'"),
        ({"observed": {"absent": {"wire": []}}}, "the absent's 'wire'"),
        ({"observed": {"more": NESTED}}, "nested more than 100 deep"),
        ({"reason": "\ud800"}, "half a surrogate pair"),
    ],
)
def test_a_line_whose_insides_are_odd_is_damaged_too(folder, odd, reported):
    """Whoever reads it later takes the insides for what they should be."""
    file = folder / "box" / "records" / "bbbbbbbb-virtualenv-py3.11-more.jsonl"
    file.write_text(json.dumps(json.loads(line(NEW, "ray", 8, [3.0] * 7)) | odd))
    results = read_results(folder, [OLD, NEW])
    [damage] = results.damaged
    assert reported in str(damage)
    assert len(results.series("step_seconds")) == 1


def test_a_line_ends_where_json_lines_do(folder):
    """Not at a separator within a text, which JSON may hold as it is."""
    record = json.loads(line(NEW, "ray", 8, [3.0] * 7))
    record["provenance"]["command"] = "pasted\u2028 and \x85"
    file = folder / "box" / "records" / f"{NEW.hash[:8]}-virtualenv-py3.11-more.jsonl"
    file.write_text(f"{json.dumps(record, ensure_ascii=False)}\n" * 2, encoding="utf-8")
    results = read_results(folder, [OLD, NEW])
    assert results.damaged == []
    assert sum(point.record.path == "ray" for point in results.points) == 2
    assert len(read_records(file.read_text(encoding="utf-8"))) == 2


def test_a_pipe_run_of_odd_insides_is_damaged(folder):
    (folder / "box" / "pipe").mkdir()
    good = {"64": {"p50_seconds": 1e-4, "p99_seconds": 2e-4, "samples": {"p50_seconds": [1e-4]}}}
    odd = [{"64": {}}, {"64": good["64"] | {"p50_seconds": NAN}}, {"small": good["64"]}, [], NAN]
    odd += [{"64": good["64"] | {"samples": {"p50_seconds": 5}}}]
    runs = [{"paths": {"zmq": one}} for one in [good, *odd]]
    runs += [{"paths": {}, "provenance": [5]}, {"paths": []}, {"paths": {}, "absent": {"ray": 5}}]
    (folder / "box" / "pipe" / "bbbbbbbb.jsonl").write_text("".join(f"{json.dumps(run)}\n" for run in runs))
    results = read_results(folder, [OLD, NEW])
    assert [damage.line for damage in results.damaged] == list(range(2, len(runs) + 1))
    assert [pipe.result for pipe in results.pipes] == runs[:1]


@pytest.mark.parametrize("date", [NAN, math.inf, 10**400, 1e300, -5, "yesterday", None])
def test_a_date_that_is_none_is_named_and_the_others_give_the_order(folder, date):
    for commit, given in ((OLD, date), (NEW, 5_000_000)):
        content = {"commit_hash": commit.hash, "date": given}
        (folder / "box" / f"{commit.hash[:8]}-virtualenv-py3.11.json").write_text(json.dumps(content))
    (folder / "box" / "dddddddd-virtualenv-py3.11.json").write_text("[" * 100_000)
    results = read_results(folder)
    assert [(damage.source.name[:8], damage.reason[:15]) for damage in results.damaged] == [
        ("aaaaaaaa", "'date' is no ti"),
        ("dddddddd", "not JSON: maxim"),
    ]
    assert {point.commit.hash: point.commit.time for point in results.points} == {OLD.hash: 0, NEW.hash: 5000}
    assert {commit.hash for commit in results.unordered} == {OLD.hash}


def test_an_empty_folder_and_none_at_all_hold_nothing(tmp_path):
    assert read_results(tmp_path).points == []
    assert read_results(tmp_path / "nowhere").points == []


def test_the_history_is_that_of_first_parents_oldest_first(tmp_path):
    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-C", tmp_path, "-c", "user.name=t", "-c", "user.email=t@t", *words], check=True
        )

    assert history(tmp_path) == []
    git("init", "-q", "-b", "main")
    for subject in ("one", "two words"):
        git("commit", "-q", "--allow-empty", "-m", subject)
    assert [commit.subject for commit in history(tmp_path)] == ["one", "two words"]
    assert all(commit.time > 1e9 and len(commit.hash) == 40 for commit in history(tmp_path))


def test_the_committed_results_can_all_be_read():
    """What the repository ships must be readable: the site and the detector live from it."""
    results = read_results(ROOT / "results", history(ROOT))
    assert results.damaged == []
    assert len({point.commit.hash for point in results.points if point.machine == "h200-1x"}) >= 3
