"""The exam of the whole: commits of known speed, and the gate names exactly the right ones.

A real repository, asv's real environments, wheels and locks, the real harness in its processes; only
the engine and the clock are not real (exam.py says why). `make exam` has the real engines.
"""

import json
import os
import re

import exam
import pytest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

STEPS = {
    # what the commit does to the first one: the files it changes, the verdict on zmq, the exit code
    "3 % slower": (exam.speed(1.03), "worse", 1),
    "30 % slower": (exam.speed(1.3), "worse", 1),
    "faster": (exam.speed(0.9), "better", 0),
    "nothing": ({"NOTES": "nothing that is measured"}, "same", 0),
    "lock bump": (exam.lock("1.1"), "same", 0),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> exam.Repository:
    made = exam.make_repository(tmp_path_factory.mktemp("exam"), cv=0.002)
    for name, (contents, _verdict, _code) in STEPS.items():
        made.commit(name, {**exam.speed(), **exam.lock("1.0"), **contents})
    made.commit("10 % slower", {**exam.speed(1.1), **exam.lock("1.0")})
    made.commit("a byte more", {**exam.speed(wire_bytes=1001), **exam.lock("1.0")})
    made.commit("broken", {"setup.py": "raise SystemExit('this commit cannot be built')\n"})
    return made


def gate(repository, base, head, *options, **more):
    done = repository.gate(base, head, "--paths", "sync,zmq", "--budget", "2", "--json", *options, **more)
    print(done.stderr[-3000:], done.stdout)  # pytest shows it where a test fails
    content = json.loads(done.stdout) if done.stdout else None
    return done, content


def verdicts(content, metric="step_seconds"):
    found = {}
    for row in content["verdicts"]:
        if row["metric"] == metric:
            found.setdefault(row["path"], set()).add(row["verdict"])
    return found


@pytest.mark.parametrize("name", STEPS)
def test_the_gate_names_exactly_what_a_commit_changed(repository, name):
    """Slower, faster or neither, and only the path that the commit touches; at one batch of the two."""
    _contents, verdict, code = STEPS[name]
    done, content = gate(repository, "first", name, "--batch", "8")
    assert verdicts(content) == {"sync": {"same"}, "zmq": {verdict}}
    assert verdicts(content, "wire_bytes") == {"zmq": {"same"}}
    assert done.returncode == code
    assert content["notes"] == (
        ["the environments differ: exam-engine 1.0 -> 1.1"] if name == "lock bump" else []
    )


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="each of two sessions takes a core")
def test_sessions_at_once_are_as_right_and_each_record_says_its_lane(repository):
    done, content = gate(repository, "first", "10 % slower", "--at-once", "2")
    assert verdicts(content) == {"sync": {"same"}, "zmq": {"worse"}}
    assert verdicts(content, "wire_bytes") == {"zmq": {"same"}}
    assert content["notes"] == []
    assert (done.returncode, content["at_once"], content["sessions"] % 2) == (1, 2, 0)
    results = repository.folder / "results" / exam.MACHINE
    newest = max(results.glob("gates/*.jsonl"), key=lambda file: file.stat().st_mtime)
    found = [json.loads(line)["provenance"] for line in newest.read_text().splitlines()]
    cores = {one["lane"]["number"]: one["lane"]["cores"] for one in found}
    assert sorted(cores) == [1, 2]
    assert not {*cores[1]} & {*cores[2]}
    assert len({one["session"] for one in found}) == content["sessions"]
    assert {len(cores[one["lane"]["number"]]) - one["machine"]["cores"] for one in found} == {0}
    assert "lane 2: " in done.stderr


@pytest.fixture(scope="module")
def byte_more(repository):
    """A gate of the commit with a byte more, in a tree with another change that is not committed."""
    speed = repository.folder / "rollout_perf" / "speed.py"
    committed = speed.read_text()
    files = ("--summary", "summary.md", "--junit", "junit.xml")
    try:
        speed.write_text(exam.speed(wire_bytes=9)["rollout_perf/speed.py"])
        return gate(repository, "first", "a byte more", "--metrics", "wire_bytes", *files)
    finally:
        speed.write_text(committed)


def test_a_byte_more_on_the_wire_is_found_by_one_session(byte_more):
    done, content = byte_more
    assert verdicts(content, "wire_bytes") == {"zmq": {"worse"}}
    assert content["sessions"] == 1
    assert done.returncode == 1


def test_a_gate_leaves_its_verdict_and_every_record_and_nothing_else_in_results(repository, byte_more):
    """asv must not take what a gate measured for a commit's place in the history."""
    _done, content = byte_more
    results = repository.folder / "results" / exam.MACHINE
    assert sorted(path.name for path in results.iterdir()) == ["gates", "machine.json"]
    [file] = results.glob(f"gates/{content['base'][:8]}-{content['head'][:8]}-*.json")
    assert json.loads(file.read_text()) == content
    records = [json.loads(line) for line in file.with_suffix(".jsonl").read_text().splitlines()]
    assert {record["provenance"]["commit"] for record in records} == {content["base"], content["head"]}
    for record in records:
        ours = ".asv/env-head/" if record["provenance"]["side"] == "head" else ".asv/env/"
        assert ours in record["observed"]["sut"]
    assert (repository.folder / "summary.md").read_text().startswith("### worse: ")
    assert 'failures="2"' in (repository.folder / "junit.xml").read_text()


def test_a_dirty_tree_is_said_and_the_commits_are_measured(byte_more):
    _done, content = byte_more
    assert content["notes"] == [
        "the working tree has uncommitted changes (1 file): what is measured is the two commits, without them"
    ]


@pytest.mark.exam  # two environments are made for it
def test_an_upgrade_is_a_gate_of_two_locks_with_one_system_under_test_and_leaves_no_environments(repository):
    """uv, git, asv and its environments are real; a release that breaks would be its `slower`."""
    options = ("--tracked", "nano", "--paths", "zmq", "--metrics", "wire_bytes", "--machine", exam.MACHINE)
    repository.call("git", "checkout", "-qf", repository.commits["a byte more"])
    try:
        done = repository.tool("upgrade", "exam-engine==1.1", "--json", *options)
    finally:
        repository.call("git", "checkout", "-qf", "main")
    print(done.stderr[-3000:], done.stdout)
    assert done.returncode == 0
    content = json.loads(done.stdout)["gates"]["nano"]
    assert verdicts(content, "wire_bytes") == {"zmq": {"same"}}
    assert content["notes"] == ["the environments differ: exam-engine 1.0 -> 1.1"]
    ledger = repository.folder / ".asv" / "releases" / "upgrade-cpu"
    assert not list((ledger / ".asv").glob("env*"))
    assert (repository.folder / "releases" / "upgrade-cpu" / exam.MACHINE / "gates").is_dir()


def test_a_budget_too_small_for_one_session(repository):
    done, _content = gate(repository, "first", "a byte more", "--budget", "0.001")
    assert done.returncode == 2
    assert "--budget is 0.001 minutes, and one session" in done.stderr.splitlines()[-1]


def test_a_commit_that_does_not_build_is_reported_with_the_last_lines_of_the_log(repository):
    done, _content = gate(repository, "first", "broken")
    assert done.returncode == 2
    assert done.stdout == ""
    reported, error = done.stderr.rstrip().rsplit("\n", 1)
    assert "this commit cannot be built" in reported
    assert re.match(
        r"rollout-perf: the head, [0-9a-f]{8}, cannot be built: .*rollout-perf-gate-head.log", error
    )


def test_asv_continuous_agrees_on_the_30_per_cent_case(repository):
    """With seven samples a build asv's own test can tell; by default it asks for 10 % and significance."""
    repository.call("asv", "machine", "--yes", "--machine", exam.MACHINE)
    hashes = (repository.commits["first"], repository.commits["30 % slower"])
    done = repository.call(
        "asv", "continuous", *hashes, "--machine", exam.MACHINE, "--bench", "Nano.track_step_seconds"
    )
    print(done.stdout)
    assert "PERFORMANCE DECREASED" in done.stdout
    assert done.returncode == 1
    changed = [line for line in done.stdout.splitlines() if line.startswith("| +")]
    assert len(changed) == 2  # zmq at both batches, and not sync
    assert all("'zmq'" in line for line in changed)
