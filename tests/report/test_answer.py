"""report/answer.py and side_by_side.py: a path is fastest where sessions say so, and not by values alone."""

from pathlib import Path

import pytest
from rollout_bench.history.results import Commit, read_results
from rollout_bench.history.sessions import sessions_of
from rollout_bench.measure.pool import pool
from rollout_bench.measure.workload import Workload
from rollout_bench.report.answer import answers, groups_of, sentence
from rollout_bench.report.ratios import ratios
from rollout_bench.report.side_by_side import cases_of, side_by_side
from rollout_bench.schema.metrics import METRICS, Metric
from rollout_bench.schema.record import MEASURED, Record, read_records
from simulated import ENVIRONMENT, MACHINE, write_records, write_session

ROOT = Path(__file__).resolve().parents[2]
FACTS = {"commit": "a" * 40, "measured_at": "2026-01-03T00:00:00+00:00"}
A, B = (Commit(letter * 40, letter) for letter in "ab")


@pytest.fixture
def folder(tmp_path):
    """Two commits at which zmq took half the time of ray, each path alone, with intervals far apart."""
    write_records(tmp_path, [A, B], [8], {"ray": 2.0, "zmq": 1.0, "vllm-mp": 1.9}, ["step_seconds"])
    return tmp_path


def answer_of(folder):
    [answer] = answers(read_results(folder, [A, B]))
    return answer


def test_what_was_measured_apart_has_no_winner_however_far_apart_it_is(folder):
    answer = answer_of(folder)
    assert list(answer.values) == ["zmq", "vllm-mp", "ray"]
    assert (answer.commit, answer.sessions) == (B, None)
    assert sentence(answer).startswith(
        "no clear winner, as nothing was measured side by side; lowest median: zmq, 2"
    )


@pytest.mark.parametrize(
    ("paths", "fastest", "said"),
    [
        (
            {"vllm-mp": [1] * 4, "zmq": [0.8, 0.82] * 2, "ray": [1.2] * 4},
            "zmq",
            "fastest is zmq, 0.810 [0.793 .. 0.828] of vllm-mp",
        ),
        ({"vllm-mp": [1] * 4, "zmq": [1.2, 1.3] * 2}, "vllm-mp", "fastest is vllm-mp (4 replicates, 2026"),
        ({"vllm-mp": [1] * 4, "zmq": [0.8, 0.9, 0.9, 1.1]}, None, "no clear winner, lowest ratio: zmq, 0.9"),
        ({"vllm-mp": [1] * 3, "zmq": [0.5] * 3}, None, "no clear winner, lowest ratio: zmq, 0.50 ["),  # few
        ({"vllm-mp": [1], "zmq": [0.5]}, None, "(1 replicate, 2026-01-02, aaaaaaaa)"),
        ({"zmq": [1] * 4, "ray": [2] * 4}, "zmq", "fastest is zmq"),  # the first is the reference
    ],
)  # fmt: skip
def test_sessions_say_which_path_is_fastest_where_its_interval_is_apart(paths, fastest, said, folder):
    write_session(folder, paths)
    answer = answer_of(folder)
    assert answer.sessions.fastest == fastest
    assert said in sentence(answer)


def test_the_newest_sessions_of_the_same_work_count(folder):
    paths = {"vllm-mp": [1.0, 1.0], "zmq": [0.5, 0.5]}
    write_session(folder, paths, day="2026-01-03", name="replicate")
    write_session(folder, paths, day="2026-01-04", name="another")
    write_session(folder, {"vllm-mp": [1.0], "ray": [0.1]}, name="old", provenance={"commit": "c" * 40})
    write_session(folder, {"vllm-mp": [1.0], "ray": [0.1]}, day="2026-02-01", batch=9)
    write_session(folder, {"vllm-mp": [1.0], "ray": [0.1]}, day="2026-02-01", name="x", machine="else")
    found = answer_of(folder).sessions
    assert [row["path"] for row in found.rows] == ["zmq", "vllm-mp"]
    assert (found.starts, found.measured, found.commit) == ((4, 4), "2026-01-04", "a" * 8)
    assert found.sources == [
        f"results/{MACHINE}/turns/2026-01-0{day}.jsonl" for day in ("3-replicate", "4-another")
    ]


def test_sessions_of_a_checkout_with_changes_count_where_there_are_no_others(folder):
    """Somebody's experiment of the day after stood in the place of the comparison."""
    tried = {"vllm-mp": [1.0], "zmq-hot": [0.1]}
    write_session(folder, tried, day="2026-01-03", provenance=FACTS | {"commit": f"{'b' * 40}-dirty"})
    assert answer_of(folder).sessions.commit == "bbbbbbbb-dirty"
    write_session(folder, {"vllm-mp": [1.0], "zmq": [0.5]})
    assert answer_of(folder).sessions.commit == "aaaaaaaa"


def test_on_a_cpu_no_path_is_fastest(folder):
    facts = FACTS | {"machine": {"cpu": "some"}}
    write_session(folder, {"vllm-mp": [1] * 4, "zmq": [0.5] * 4}, provenance=facts)
    answer = answer_of(folder)
    assert (answer.sessions.fastest, answer.sessions.on_cpu) == (None, True)
    assert "a CPU's results do not rank paths, lowest ratio: zmq, 0.5" in sentence(answer)


def test_sessions_of_a_busy_host_say_so(folder):
    """Of 4 replicates of two paths: others spoilt a round in each."""
    observed = {"workers": [], "tokens_generated": 0, "vllm": "0", "engine": {}, "host": {"spoilt": 1}}
    write_session(folder, {"vllm-mp": [1] * 4, "zmq": [0.8, 0.82] * 2}, observed=observed)
    assert sentence(answer_of(folder)).endswith(", on a busy host: others spoilt 8 of 32 rollouts).")


def test_what_asv_measured_in_sessions_is_compared_by_their_rounds(folder):
    """The host took twice as long in the second session, and zmq 0.8 and 0.82 of vllm-mp in each round; ray
    was measured in other sessions, as after a break-off."""
    replicates = [
        [
            stored(path, [factor * one for one in slower], session)
            for path, factor, session in (("vllm-mp", 1, name), ("zmq", zmq, name), ("ray", 0.1, f"{name}-"))
        ]
        for name, slower, zmq in (("s1", [1.0, 1.1], 0.8), ("s2", [2.0, 2.6], 0.82))
    ]
    file = folder / MACHINE / "records" / f"{B.hash[:8]}-{ENVIRONMENT}-simulated.jsonl"
    file.write_text("".join(one.to_json() + "\n" for one in pool(replicates)))
    write_session(folder, {"vllm-mp": [1.0], "ray": [0.1]}, day="2026-02-01")  # newer, of another commit
    found = answer_of(folder).sessions
    assert [(row["path"], row["replicates"]) for row in found.rows] == [("zmq", 2), ("vllm-mp", 2)]
    assert found.rows[0]["by_replicate"] == pytest.approx([0.8, 0.82])
    assert found.rows[0]["ratio"] == pytest.approx((0.8 * 0.82) ** 0.5)
    assert found.sources == [f"results/{MACHINE}/records/{file.name}"]
    assert found.commit == B.hash[:8]


def test_the_ratios_of_a_batch_are_those_that_compare_shows(tmp_path):
    """Its interval knows of the noise of all batches: a batch judged by itself had another."""
    file = tmp_path / "h100-2x" / "turns" / "2026-11-26-0.5b.jsonl"
    file.parent.mkdir(parents=True)
    file.write_bytes((ROOT / "results" / file.relative_to(tmp_path)).read_bytes())
    shown = ratios(sessions_of(read_records(file.read_text())), "vllm-mp", "step_seconds")
    cases = cases_of(read_results(tmp_path, []))
    found = {
        (case.batch, row["path"]): row["interval"]
        for case, kept in cases.items()
        for row in side_by_side(kept, "step_seconds").rows
    }
    assert found == {(row["batch"], row["path"]): row["interval"] for row in shown}
    assert len(found) == 15


def stored(path, steps, session):
    """A replicate of asv's history at commit B."""
    load = Workload(prompts=8).as_dict()
    observed = {"workers": [], "tokens_generated": load["tokens"], "vllm": "0.26.0", "engine": {}}
    provenance = {"session": session, "commit": B.hash, "measured_at": "2026-01-01T00:00:00+00:00"}
    metrics = {"step_seconds": steps}
    return Record(path, "simulated", 1, load, MEASURED, None, metrics, observed, provenance)


@pytest.mark.parametrize(
    "record",
    [
        {"metrics": {"step_seconds": [float("nan")] * 4}},
        {"metrics": {"step_seconds": [0.0] * 4}},
        {"metrics": {}, "status": "failed"},
        {"observed": {}},
    ],
)
def test_records_that_give_no_ratio_are_passed_over(record, folder):
    write_session(folder, {"vllm-mp": [1.0], "zmq": [0.5]}, **record)
    assert answer_of(folder).sessions is None


def test_where_higher_is_better_the_highest_comes_first(folder, monkeypatch):
    monkeypatch.setitem(METRICS, "tokens", Metric("", "tokens/s", "", better="higher"))
    for file in folder.glob("*/records/*"):
        file.write_text(file.read_text().replace('"step_seconds"', '"tokens"'))
    write_session(folder, {"vllm-mp": [1] * 4, "zmq": [0.5] * 4})
    for file in folder.glob("*/turns/*"):
        file.write_text(file.read_text().replace('"step_seconds"', '"tokens"'))
    results = read_results(folder, [A, B])
    [answer] = answers(results, "tokens")
    assert list(answer.values) == ["ray", "vllm-mp", "zmq"]
    assert answer.sessions.fastest == "vllm-mp"


def test_there_is_an_answer_for_each_group_and_batch_and_a_group_for_each_session(tmp_path):
    write_records(tmp_path, [A, B], batches=[1, 8], metrics=["step_seconds"])
    write_records(tmp_path, [A, B], batches=[8], metrics=["step_seconds"], workload="grpo")
    write_session(tmp_path, {"vllm-mp": [1.0], "zmq": [0.5]}, batch=64)
    write_session(tmp_path, {"vllm-mp": [1.0], "zmq": [0.5]}, machine="another")
    results = read_results(tmp_path, [A, B])
    found = answers(results)
    assert [(one.group.workload, one.batch) for one in found] == [("fixed", 1), ("fixed", 8), ("grpo", 8)]
    assert [(key.machine, key.workload, list(batches)) for key, batches in groups_of(results).items()] == [
        ("another", "fixed", [8]), (MACHINE, "fixed", [1, 8, 64]), (MACHINE, "grpo", [8]),
    ]  # fmt: skip
    assert all(side_by_side(kept, "step_seconds") for kept in cases_of(results).values())
    assert answers(results, until=Commit("e" * 40)) == []
