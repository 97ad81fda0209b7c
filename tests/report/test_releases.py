"""report/releases.py: a release a row, with change points, reasons, and what changed in the lock."""

from dataclasses import replace

from rollout_bench.history.detect import find_change_points
from rollout_bench.history.ledger import UNRESOLVED, Entry
from rollout_bench.history.results import Commit, read_results
from rollout_bench.report.releases import JUDGED, releases_report
from simulated import write_records

ENTRIES = [
    Entry(f"0.{n}.0", 1_700_000_000 + n * 86_400, f"vllm 0.{n}.0", f"vllm==0.{n}.0\ntorch=={1 + n // 8}\n")
    for n in range(16)
]


def test_a_release_is_a_row_with_its_change_points_and_what_changed_in_its_lock(tmp_path):
    entries = [*ENTRIES, Entry("0.16.0", 1_702_000_000, "vllm 0.16.0", f"{UNRESOLVED}no torch\n")]
    commits = [Commit(f"{n:040x}", one.subject, one.published) for n, one in enumerate(ENTRIES)]
    write_records(
        tmp_path,
        commits,
        batches=(8,),
        paths={"zmq": 1.0, "ray": 1.1, "sync": 1.0, "vllm-mp": 1.0},
        metrics=["step_seconds"],
        slower=lambda path, _batch, number: 1.2 if path == "zmq" and number >= 8 else 1.0,
    )
    results = read_results(tmp_path, commits)
    failed = next(one for one in results.points if one.commit == commits[3] and one.record.path == "ray")
    points = [
        replace(one, record=one.record.failed("it does not import\nmore")) if one is failed else one
        for one in results.points
    ]
    results = replace(results, points=points)
    shown = releases_report(entries, results, find_change_points(results))
    lines = shown.splitlines()
    assert lines[0] == "simulated-1x, virtualenv-py3.12, simulated, workload fixed, batch 8: step time [99 %]"
    assert lines[1].startswith("0.15.0 over 0.14.0: zmq ")
    (row,) = [line for line in lines if line.startswith("0.8.0    2023-11-22") and "▲" in line]
    assert row.split("▲")[0].count("ms") == 1  # zmq's cell is the first
    assert "▲ 0.8.0 after 0.7.0, zmq: worse, +" in shown
    (row,) = [line for line in lines if line.startswith("0.3.0 ") and "failed" in line]
    assert "0.3.0, ray: failed: it does not import" in shown
    assert sum(line.startswith("0.16.0   2023-12-08  not measured") for line in lines) == 2
    assert "  0.16.0: cannot be resolved: no torch" in lines
    assert "  0.8.0: torch 1 -> 2, vllm 0.7.0 -> 0.8.0" in lines
    assert "  0.9.0: vllm 0.8.0 -> 0.9.0" in lines


def test_a_count_that_is_another_is_said_below_the_table_and_marks_no_step_time(tmp_path):
    commits = [Commit(f"{n:040x}", one.subject, one.published) for n, one in enumerate(ENTRIES[:3])]
    metrics = ["step_seconds", "wire_bytes"]
    write_records(tmp_path, commits, batches=(8,), paths={"zmq": 1.0}, metrics=metrics)
    results = read_results(tmp_path, commits)
    points = []
    for number, point in enumerate(results.points):
        counted = {"wire_bytes": [2000.0 if number == 2 else 1000.0]}
        record = replace(
            point.record,
            metrics=point.record.metrics | counted,
            observed=point.record.observed | {"counted": counted},
        )
        points.append(replace(point, record=record))
    results = replace(results, points=points)
    points = find_change_points(results, metrics=JUDGED)
    shown = " ".join(releases_report(ENTRIES[:3], results, points).split())
    assert shown.replace("▲ slower", "").count("▲") == 1
    assert "▲ 0.2.0 after 0.1.0, zmq, bytes on the wire in an engine step: worse, +100 % ¹ one" in shown


RATIOS = [
    [1.05, 1.051, 1.049, 1.052],
    [1.1, 1.101, 1.099, 1.098],
    [1.099, 1.101, 1.1, 1.102],
    [1.0, 0.999, 1.002],
]
"""To the control, of four engine starts; of the last release of three, which have no interval."""


def test_a_release_beyond_both_intervals_from_the_one_before_is_marked(tmp_path):
    """Four releases are too few for a change point, and four starts of each are not."""
    commits = [Commit(f"{n:040x}", one.subject, one.published) for n, one in enumerate(ENTRIES[:4])]
    write_records(tmp_path, commits, batches=(8,), paths={"zmq": 1.0}, metrics=["step_seconds"])
    results = read_results(tmp_path, commits)
    points = [
        replace(one, record=replace(one.record, metrics=one.record.metrics | {"control_ratio": ratios}))
        for one, ratios in zip(results.points, RATIOS, strict=True)
    ]
    results = replace(results, points=points)
    shown = releases_report(ENTRIES[:4], results, find_change_points(results, metrics=JUDGED))
    rows = [line for line in shown.splitlines() if line.startswith("0.")]
    assert [row[-1] if row[-1] in "▲▼" else "" for row in rows[1:]] == ["", "▲", "", ""]
    (said,) = [line for line in shown.splitlines() if line.startswith(("▲", "▼"))]
    assert said.startswith("▲ 0.1.0 over 0.0.0, zmq: +4.7 % [+")


def test_cases_whose_intervals_are_of_engine_starts_come_first(tmp_path):
    commits = [Commit(f"{n:040x}", one.subject, one.published) for n, one in enumerate(ENTRIES[:2])]
    write_records(tmp_path, commits, batches=(1, 8), paths={"zmq": 1.0}, metrics=["step_seconds"])

    def measured(point):
        starts = 1 if point.record.workload["batch"] == 1 else 4
        metrics = point.record.metrics | {"control_ratio": RATIOS[0][:starts]}
        observed = point.record.observed | {"engine_starts": starts}
        return replace(point, record=replace(point.record, metrics=metrics, observed=observed))

    results = read_results(tmp_path, commits)
    results = replace(results, points=[*map(measured, results.points)])
    shown = releases_report(ENTRIES[:2], results, [])
    titles = [line for line in shown.splitlines() if line.startswith("simulated-1x")]
    assert [one.partition(", batch ")[2][0] for one in titles] == ["8", "1"]


def test_a_step_time_without_a_control_marks_no_release_since_its_interval_is_of_one_engine(tmp_path):
    commits = [Commit(f"{n:040x}", one.subject, one.published) for n, one in enumerate(ENTRIES[:2])]
    write_records(
        tmp_path,
        commits,
        batches=(8,),
        paths={"zmq": 1.0},
        metrics=["step_seconds"],
        slower=lambda _path, _batch, number: 1 + number,
    )
    shown = releases_report(ENTRIES[:2], read_results(tmp_path, commits), [])
    assert "▲" not in shown.replace("▲ slower", "")


def test_a_ledger_that_nobody_has_measured_shows_its_locks(tmp_path):
    dropped = "".join(f"a{n}==1\n" for n in range(20))
    first = replace(ENTRIES[0], lock=dropped + ENTRIES[0].lock)
    shown = releases_report([first, ENTRIES[1]], read_results(tmp_path, [Commit("a" * 40)]), [])
    assert shown.startswith("no release has been measured: `rollout-perf track` in the ledger does so\n\n")
    assert "  0.1.0: vllm 0.0.0 -> 0.1.0, a0 1 -> absent, " in shown
    assert shown.endswith(", and 9 more")
    assert "a19" not in shown
