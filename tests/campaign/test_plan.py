"""What is left of a campaign is read from results/: sessions of a system under test each, newest first."""

import subprocess
from dataclasses import replace

from fake_fleet import ENVIRONMENT, files, node, values
from rollout_bench.campaign.file import Campaign
from rollout_bench.campaign.home import Home
from rollout_bench.campaign.plan import files_of, is_done, plan
from rollout_bench.history.results import history
from rollout_bench.measure.tracked import Class, Tracked
from rollout_bench.schema.record import read_records
from simulated import write_repository

TABLE = Tracked(
    "nano", [], "nano", sets={"default": ["vllm-mp", "zmq"]}, classes={"Nano": Class("fixed", [])}
)
TABLES = {
    "nano": TABLE,
    "nano-rl": Tracked("nano", [], "nano-rl", sets=TABLE.sets, classes={"Rl": Class("grpo", [])}),
}


def commits_of(root, *contents):
    """A history in which the package has these contents, one commit after the other; newest first."""
    stream = "".join(
        f"commit refs/heads/main\ncommitter N <n@x> {1_700_000_000 + number} +0000\ndata 1\n{number}\n"
        f"M 100644 inline rollout_perf/a.py\ndata {len(content)}\n{content}\n"
        for number, content in enumerate(contents)
    )
    subprocess.run(["git", "init", "-q", "-b", "main", root], check=True)
    subprocess.run(["git", "-C", root, "fast-import", "--quiet"], input=stream, text=True, check=True)
    return history(root)[::-1]


def planned(root, commits, tables=("nano",)):
    campaign = Campaign({name: TABLES[name] for name in tables}, range="HEAD")
    asked = (ENVIRONMENT, commits, campaign, {"box": "lab"}, [node("a")])
    return plan(root, root / "results", *asked)


def request(commits, table="nano"):
    return {
        "machine": {"machine": "lab"}, "classes": list(TABLES[table].classes),
        "commits": [(one.hash, "", 0) for one in commits],
    }  # fmt: skip


def test_commits_of_nothing_that_is_known_are_apart(tmp_path):
    left, _done = planned(tmp_path, write_repository(tmp_path, 3))
    assert [len(session.commits) for session in left] == [1, 1, 1]


def test_commits_of_one_system_under_test_are_one_session(tmp_path):
    commits = commits_of(tmp_path, "a", "b", "b", "a")
    left, done = planned(tmp_path, commits)
    assert [session.commits for session in left] == [(commits[0], commits[3]), (commits[1], commits[2])]
    assert done == 0


def test_what_results_have_is_not_left(tmp_path):
    commits = commits_of(tmp_path, "a", "b", "c", "a")
    home = Home(tmp_path / "results", ENVIRONMENT)
    home.take(files(request(commits[:2])))
    left, done = planned(tmp_path, commits, ["nano", "nano-rl"])
    assert [(one.table, one.commits, one.alike) for one in left] == [
        ("nano-rl", (commits[0], commits[3]), ()),
        ("nano-rl", (commits[1],), ()),
        ("nano", (commits[2],), ()),
        ("nano-rl", (commits[2],), ()),
        ("nano", (commits[3],), (commits[0],)),  # whose records it shares
    ]
    assert done == 2


def test_a_path_behind_an_entry_is_done_by_its_record(tmp_path):
    [commit] = commits_of(tmp_path, "a")
    home = Home(tmp_path / "results", ENVIRONMENT)
    sent = files(request([commit]))
    home.take(sent)
    values_file, records = files_of(home.results / "lab", commit, ENVIRONMENT, "nano")
    table = replace(TABLE, sets={"default": ["zmq@http"]})
    asked = (home.results / "lab", commit, ENVIRONMENT, "nano", table, "default")
    assert not is_done(*asked)
    lines = [replace(one, entry="http").to_json() for one in read_records(records.read_text())]
    records.write_text("\n".join(lines))
    assert values_file.exists()
    assert is_done(*asked)


def test_a_commit_that_cannot_be_built_is_not_tried_again(tmp_path):
    [commit] = commits_of(tmp_path, "a")
    path = f"lab/{commit.hash[:8]}-{ENVIRONMENT}.json"
    Home(tmp_path / "results", ENVIRONMENT).take({path: values(commit.hash, ["Nano"], None)})
    assert planned(tmp_path, [commit]) == ([], 1)


def test_records_without_asvs_values_are_not_enough_and_go_along(tmp_path):
    """The node was lost between the two: what was measured is not measured again."""
    [commit] = commits_of(tmp_path, "a")
    home = Home(tmp_path / "results", ENVIRONMENT)
    records = {path: text for path, text in files(request([commit])).items() if "/records/" in path}
    home.take(records)
    [session], done = planned(tmp_path, [commit])
    assert done == 0
    assert home.along(session) == records
