"""Paths side by side: ratios of neighbours by hand, and a session of fake engines."""

import json
import os
import shutil
import sys
import time
from dataclasses import replace
from itertools import chain, pairwise
from types import SimpleNamespace

import fake
import pytest
from leaks import nothing_left
from rollout_bench.cli import main as cli
from rollout_bench.cli.options import ways
from rollout_bench.history.sessions import sessions_of
from rollout_bench.measure import rounds as rounds_module
from rollout_bench.measure import session
from rollout_bench.measure.process import Interpreter
from rollout_bench.measure.session import Contestant, run_session
from rollout_bench.measure.tracked import fixed
from rollout_bench.measure.workload import Workload
from rollout_bench.report.estimate import BUSY_HOST, estimate_of
from rollout_bench.report.ratios import of_variants, ratio_table, ratios, together
from rollout_bench.schema.record import ABSENT, FAILED, Record, engines, read_records


def record(path: str, samples: list[float]) -> Record:
    load = fixed("nano", [8])[0].as_dict()
    metrics = {"step_seconds": samples} if samples else {}
    observed = {"workers": [], "engine": {}, "tokens_generated": load["tokens"], "vllm": "0"}
    return Record(path, "nano", 1, load, "measured", metrics=metrics, observed=observed)


def test_a_ratio_is_that_of_neighbours_so_what_drifts_falls_out():
    """The host gets slower fourfold within a replicate: medians of each would say nothing."""
    drifting = [1.0, 2.0, 3.0, 4.0]
    replicates = [
        [record("vllm-mp", drifting), record("zmq", [0.9 * one for one in drifting])],
        [record("vllm-mp", [5.0, 5.0]), record("zmq", [5.5, 5.5])],
        [record("vllm-mp", [1.0, 1.0]), record("zmq", [1 / 0.99, 1 / 0.99])],
    ]
    rows = ratios(replicates, "vllm-mp", "step_seconds")
    reference, zmq = rows
    assert reference["ratio"] == 1.0
    assert zmq["by_replicate"] == pytest.approx([0.9, 1.1, 1 / 0.99])
    assert zmq["ratio"] == pytest.approx(1.0)
    assert zmq["interval"] == pytest.approx((0.778, 1.285), abs=0.001)
    assert (zmq["replicates"], zmq["rounds"]) == (3, 8)
    assert "1.00 [0.78 .. 1.28]" in ratio_table(rows, "vllm-mp", "step_seconds")


def test_ratios_of_a_busy_host_say_so_in_each_value_and_over_all_replicates():
    """One replicate of two was disturbed, in a round of the three: what is counted is not."""
    replicates = [[record("vllm-mp", [1.0] * 3), record("zmq", [0.9] * 3)] for _ in range(2)]
    for one in replicates[1]:
        one.observed["host"] = {"spoilt": 1}
    rows = ratios(replicates, "vllm-mp", "step_seconds")
    assert [row["spoilt_rounds"] for row in rows] == [1, 1]
    _caption, _title, reference, zmq, *notes = ratio_table(rows, "vllm-mp", "step_seconds").splitlines()
    assert "1.00 s¹" in reference
    assert "900 ms¹" in zmq
    assert "0.90 [0.90 .. 0.90]¹²" in zmq
    assert notes[0].startswith("¹ a busy host")
    assert "busy" not in ratio_table(rows, "vllm-mp", "wire_bytes")
    assert [estimate_of(one, "step_seconds").warnings for one in together(replicates)] == [(BUSY_HOST,)] * 2


def test_a_path_that_was_not_measured_or_left_early_has_no_ratio():
    replicates = [[record("vllm-mp", [1.0, 1.0]), record("zmq", []), record("ray", [2.0])]]
    _reference, zmq, ray = ratios(replicates, "vllm-mp", "step_seconds")
    assert "median" not in zmq
    assert ray["median"] == 2.0
    assert "ratio" not in ray
    assert "not measured" in ratio_table([zmq], "vllm-mp", "step_seconds")


def test_what_is_asked_besides_is_compared_with_the_same_work_without_it(tmp_path, capsys):
    """Step times over those of the same rounds, for each path by itself."""
    plain = [record("vllm-mp", [1.0, 2.0]), record("zmq", [2.0, 2.0])]
    variants = [record("vllm-mp", [1.1, 2.2]), record("zmq", [2.5, 2.5])]
    names = {"name": "fixed-logprobs-0", "fingerprint": "other"}
    variants = [replace(one, workload=one.workload | names) for one in variants]
    found = of_variants([[*plain, *variants]], "step_seconds")
    by_path = {path: [(row["path"], row["ratio"]) for row in rows] for path, rows in found.items()}
    assert by_path == {
        f"{path}, fixed": [("fixed", 1.0), ("fixed-logprobs-0", pytest.approx(ratio))]
        for path, ratio in (("vllm-mp", 1.1), ("zmq", 1.25))
    }
    assert of_variants([plain], "step_seconds") == {}
    file = tmp_path / "kept.jsonl"
    file.write_text("".join(one.to_json() + "\n" for one in [*plain, *variants]))
    assert cli.main(["compare", "--from", str(file)]) == 0
    assert "zmq, fixed: what else is asked of it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"preset": "qwen2.5-7b"}, "qwen2.5-7b, workload fixed"),
        ({"tensor_parallel_size": 2}, "nano, tensor-parallel over 2, workload fixed"),
    ],
)
def test_other_cases_among_kept_records_have_tables_of_their_own(other, named, tmp_path, capsys):
    records = [record("vllm-mp", [1.0, 1.0]), record("zmq", [0.9, 0.9])]
    records += [
        replace(record(path, samples), **other) for path, samples in (("vllm-mp", [1.0]), ("zmq", [3.0]))
    ]
    file = tmp_path / "kept.jsonl"
    file.write_text("".join(one.to_json() + "\n" for one in records))
    assert cli.main(["compare", "--from", str(file)]) == 0
    shown = capsys.readouterr().out
    first, _, second = shown.partition(f"\n{named}\n")
    assert first.startswith("nano, workload fixed\n")
    assert "  0.90¹" in first
    assert "  3.00¹" in second  # of one round, which gives no interval


def test_kept_records_are_shown_again_replicate_by_replicate(tmp_path, capsys):
    """The same two replicates as measured: 1.1 and 0.9 of the reference, and idle times of both together."""
    replicates = [
        [record("vllm-mp", [1.0, 1.0]), record("zmq", [1.1, 1.1])],
        [record("vllm-mp", [2.0, 2.0]), record("zmq", [1.8, 1.8])],
    ]
    for one in (one for records in replicates for one in records):
        one.metrics["gpu_idle_share"] = [0.2 if one in replicates[0] else 0.4]
    assert sessions_of([*replicates[0], *replicates[1]]) == replicates
    assert [one.metrics["gpu_idle_share"] for one in together(replicates)] == [[0.2, 0.4]] * 2
    files = []
    for number, records in enumerate(replicates):
        files += ["--from", str(tmp_path / f"{number}.jsonl")]
        (tmp_path / f"{number}.jsonl").write_text("".join(one.to_json() + "\n" for one in records[::-1]))
    assert cli.main(["compare", *files]) == 0
    shown = capsys.readouterr().out
    assert "0.99 [0.28 .. 3.56]" in shown
    assert shown.count("30.0 %") == 2
    assert [line.split()[0] for line in shown.splitlines()[3:5]] == ["vllm-mp", "zmq"]
    assert cli.main(["compare", *files, "--json"]) == 0
    found = {row["path"]: row for row in json.loads(capsys.readouterr().out)["ratios"]}
    assert found["zmq"]["by_replicate"] == pytest.approx([1.1, 0.9])


def test_a_record_that_lacks_what_each_has_is_reported_in_a_line(tmp_path, capsys):
    odd = record("zmq", [1.0])
    odd.observed.clear()
    (tmp_path / "odd").write_text(odd.to_json())
    assert cli.main(["compare", "--from", str(tmp_path / "odd")]) == 2
    assert capsys.readouterr().err == "rollout-perf: --from has a record without what each has: 'workers'\n"


@pytest.mark.timeout(120)
def test_who_has_just_generated_is_not_first_and_a_path_that_dies_leaves_the_others(tmp_path, monkeypatch):
    fake.put(monkeypatch, tmp_path, FAKE_BEHAVIOUR="ray:dies-at-9", FAKE_ALONE="1")
    said: list[str] = []
    with nothing_left():
        records = run_session(
            "nano", [*map(Contestant, ["vllm-mp", "ray", "zmq", "pigeon"])], fixed("nano", [1, 8]), 2, 3,
            said.append, keep=tmp_path / "kept", repeat_share=0.0,
        )  # fmt: skip
    by_case = {(one.path, one.workload["batch"]): one for one in records}
    assert len(by_case) == 8
    for path in ("vllm-mp", "zmq"):
        for batch in (1, 8):
            assert by_case[path, batch].status == "measured", by_case[path, batch].reason
            assert len(by_case[path, batch].metrics["step_seconds"]) == 2
    assert by_case["zmq", 8].metrics["wire_bytes"] == [1000.0]  # one value: of the rollout that is counted
    assert (by_case["ray", 1].status, by_case["ray", 8].status) == ("measured", FAILED)
    assert by_case["pigeon", 1].status == ABSENT
    kept = read_records((tmp_path / "kept").read_text())
    measured = [one.workload["batch"] for one in kept if one.status == "measured"]
    assert measured == [1, 1, 1, 8, 8]  # those of the first workload before the second one begins
    rollouts = (tmp_path / "rollouts").read_text().split("\n")
    there = ["vllm-mp", "ray", "zmq"]
    ran = [line.split() for line in rollouts if line][3:]  # after a token each
    assert all(before[0] != after[0] for before, after in pairwise(ran))
    in_rounds = [sorted(path for path, _batch in ran[place : place + 3]) for place in range(0, 24, 3)]
    assert in_rounds[:7] == [sorted(there)] * 7
    assert [batch for _path, batch in ran] == ["1"] * 3 + ["8"] * 3 + ["1"] * 15 + ["8"] * 11
    assert any("ray has left the session" in line for line in said)
    assert not any("did not end well" in line for line in said)
    running = [line.split() for line in (tmp_path / "running").read_text().splitlines()]
    assert len(running) == len(rollouts) - 1 - len(there)
    assert all(found == [path] for path, *found in running[:21]), "others run beside the one that generates"
    assert all({path} <= set(found) <= {path, "ray"} for path, *found in running[21:])


def test_builds_of_a_path_are_neighbours_in_every_round_and_nobody_follows_itself(monkeypatch):
    monkeypatch.setattr(rounds_module, "say", lambda _text: None)
    names = [f"{build} {path}" for path in ("zmq", "ray", "sync") for build in ("base", "head")]
    order = []
    running = rounds_module._Rounds(SimpleNamespace(gpus=()), "seed")
    for name in names:
        one = Answers(name)
        monkeypatch.setattr(one, "ask", lambda name=name, **_order: order.append(name) or "0.1")
        running.up.append(one)
    for _ in range(20):
        running.run(0, "fixed 8")
    assert all(before != after for before, after in pairwise(order))
    rounds = [order[place : place + 6] for place in range(0, 120, 6)]
    for found in rounds:
        assert sorted(found) == sorted(names)
        assert all(found[place].split()[1] == found[place + 1].split()[1] for place in (0, 2, 4))
    assert len({tuple(found) for found in rounds}) > 10


BUSY, QUIET = {"others_seconds": 0.5, "spoilt": "by others"}, {"others_seconds": 0.0, "spoilt": None}
BUSY, QUIET = ({"seconds": 1.0, "stolen_seconds": 0.0} | one for one in (BUSY, QUIET))


class Answers:
    """In the place of a contestant: it does what it is asked, and notes it."""

    def __init__(self, name: str):
        self.name, self.way, self.orders = name, name.split()[-1], []

    def ask(self, **order):
        self.orders.append(order)
        return "0.1"


@pytest.mark.parametrize(
    ("rounds", "chosen", "spoilt", "repeated"),
    [
        ([QUIET] * 4, [0, 1, 2, 3], 0, 0),
        ([BUSY, QUIET, BUSY, QUIET, QUIET, QUIET], [1, 3, 4, 5], 0, 2),
        ([BUSY, QUIET, BUSY, QUIET, QUIET, BUSY | {"others_seconds": 0.3}], [1, 3, 4, 5], 1, 2),
    ],
)
def test_a_spoilt_round_comes_again_within_the_budget_and_counts_for_nobody(
    rounds, chosen, spoilt, repeated, monkeypatch
):
    """Sample i of every record is still of one round, and whose stay spoilt says so, as progress does."""
    states = iter(rounds)
    said = []
    monkeypatch.setattr(rounds_module, "between", lambda _before, _after: next(states))
    monkeypatch.setattr(rounds_module, "say", said.append)
    contestants = [Answers("vllm-mp"), Answers("zmq")]
    running = rounds_module._Rounds(SimpleNamespace(look=lambda: None, gpus=()), "seed")
    running.up += contestants
    running.run_timed({0: "fixed 8", 1: "fixed-logprobs-0 8"}, 4, 4, 0.0, 2)
    assert next(states, None) is None
    busy = sum(one["spoilt"] is not None for one in rounds)
    warning = f"fixed 8 and fixed-logprobs-0 8: others spoilt {busy} of {len(rounds)} rounds"
    assert [line for line in said if not line.endswith("…")] == [f"{warning}; the last: by others"] * bool(
        busy
    ) + [
        f"{load}: {len(rounds)} rounds, median vllm-mp 0.100 s, zmq 0.100 s"
        for load in ("fixed 8", "fixed-logprobs-0 8")
    ]
    for one in contestants:
        *rollouts, before, last = one.orders
        alternate = [(0, 1), (1, 0)] * 3
        assert [order["workload"] for order in rollouts] == [*chain.from_iterable(alternate[: len(rounds)])]
        assert before["rounds"] == last["rounds"] == chosen
        assert (before["workload"], last["workload"]) == (0, 1)
        host = last["host"]
        assert (host["spoilt"], host["repeated"]) == (spoilt, repeated)
        assert host["rounds"]["others_seconds"] == [rounds[place]["others_seconds"] for place in chosen]


@pytest.mark.parametrize(
    ("most", "seconds", "spoilt", "chosen"),
    [
        (30, 6.5, [], range(7)),  # each takes a second
        (30, 2.0, [], range(4)),
        (5, 60.0, [], range(5)),
        (0, 60.0, [], range(4)),
        (30, 6.5, [1, 5], [0, 2, 3, 4, 6]),
        (30, 60.0, [4, 5], range(4)),  # nor do those count that are too many
    ],
)
def test_where_engines_took_long_to_start_there_are_more_rounds(most, seconds, spoilt, chosen, monkeypatch):
    """Those beyond what was asked for make a value more certain: none of them is a spoilt one."""
    ran = []
    monkeypatch.setattr(
        rounds_module, "between", lambda *_: ran.append(BUSY if len(ran) in spoilt else QUIET) or ran[-1]
    )
    monkeypatch.setattr(rounds_module, "say", lambda _text: None)
    monkeypatch.setattr(rounds_module, "time", SimpleNamespace(monotonic=lambda: float(len(ran))))
    running = rounds_module._Rounds(SimpleNamespace(look=lambda: None, gpus=()), "seed")
    running.up.append(one := Answers("zmq"))
    running.run_timed({0: "fixed 8"}, 4, most, seconds, 2 if 1 in spoilt else 1)
    assert one.orders[-1]["rounds"] == [*chosen]
    assert one.orders[-1]["host"]["spoilt"] == 0


FIRST_IS_SPOILT = """
from rollout_bench.measure import host_state
from rollout_perf import clock
between, found = host_state.between, []
def spoil(before, after):
    found.append(between(before, after) | {"spoilt": None if found else "by this test"})
    return found[-1]
host_state.between = spoil
class Slower(clock.Wall):
    rollouts = 0
    async def pass_steps(self, steps):
        self.rollouts += 1
        await clock.asyncio.sleep(0.01 * self.rollouts)
clock.Wall = Slower
"""


@pytest.mark.timeout(60)
def test_a_record_has_the_samples_of_the_rounds_that_count_and_says_how_the_host_was(tmp_path, monkeypatch):
    fake.put(monkeypatch, tmp_path)
    (tmp_path / "sitecustomize.py").write_text(FIRST_IS_SPOILT)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
    said: list[str] = []
    [record] = run_session("nano", [Contestant("zmq")], fixed("nano", [1]), 2, 1, said.append)
    times = [line.split()[-2] for line in said if "round " in line and line.startswith("fixed")]
    assert len(set(times)) == 3
    assert [f"{one:.3f}" for one in record.metrics["step_seconds"]] == times[1:]
    host = record.observed["host"]
    assert (host["repeated"], host["spoilt"], len(host["rounds"]["seconds"])) == (1, 0, 2)


LATE_ON_A_QUIET_HOST = """
import time
from rollout_bench.measure import host_state, process
between, start = host_state.between, process.start_beside
host_state.between = lambda before, after: between(before, after) | {"spoilt": None}
process.start_beside = lambda *asked: time.sleep(2.0) or start(*asked)
"""


@pytest.mark.timeout(60)
def test_a_session_goes_on_for_as_long_as_its_engines_took_to_start(tmp_path, monkeypatch):
    fake.put(monkeypatch, tmp_path)
    (tmp_path / "sitecustomize.py").write_text(LATE_ON_A_QUIET_HOST)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
    loads = fixed("nano", [1, 8])
    records = run_session("nano", [Contestant("zmq")], loads, 2, 1, [].append, most_rounds=5)
    assert [len(one.metrics["step_seconds"]) for one in records] == [5, 5]


ON_A_GPU_HOST = """
from rollout_bench.measure import host_state, pinning
class Host(host_state.Host):
    def look(self):
        self.gpus = ()
        look = super().look()
        self.gpus = ("a GPU",)
        return look
host_state.Host = Host
pinning.cores_for = lambda processes: [{pinning.by_speed(processes)[-1]}] * processes
pinning.Speed.slowness = lambda self: len(self._cores) + 0.5 if self._seconds else None
"""


@pytest.mark.timeout(60)
def test_where_engines_have_cores_a_record_says_how_slow_they_were(tmp_path, monkeypatch):
    fake.put(monkeypatch, tmp_path)
    (tmp_path / "sitecustomize.py").write_text(ON_A_GPU_HOST)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
    [record] = run_session("nano", [Contestant("zmq")], fixed("nano", [1]), 2, 1, lambda _text: None)
    host = record.observed["host"]
    assert host["pinned"]
    [slowness] = {*host["rounds"]["slowness"]}
    assert slowness == len(record.observed["workers"]) + 1.5  # the engine's own process, too


WITH_MADE_UP_CORRECTIONS = """
import random
from rollout_bench.stats import rounds
pinning.Speed.slowness = lambda self: random.uniform(1.0, 2.0)
def slowed(seconds, slowness):
    return {name: [one * slow for one, slow in zip(of, slowness[name])] for name, of in seconds.items()}
rounds.slowed = slowed
"""


@pytest.mark.timeout(60)
def test_builds_of_a_path_are_corrected_for_the_speed_of_their_cores(tmp_path, monkeypatch):
    fake.put(monkeypatch, tmp_path)
    (tmp_path / "sitecustomize.py").write_text(ON_A_GPU_HOST + WITH_MADE_UP_CORRECTIONS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
    contestants = [Contestant("zmq", "base"), Contestant("zmq", "head"), Contestant("vllm-mp", "base")]
    records = run_session("nano", contestants, fixed("nano", [1]), 3, 1, lambda _text: None)
    found = {(one.provenance["side"], one.path): one for one in records}
    for record in (found["base", "zmq"], found["head", "zmq"]):
        rounds = record.observed["host"]["rounds"]
        made = zip(record.metrics["step_seconds"], rounds["slowness"], strict=True)
        assert rounds["slowed"] == pytest.approx([seconds * slow for seconds, slow in made], rel=1e-3)
    alone = found["base", "vllm-mp"].observed["host"]["rounds"]
    assert all(alone["slowness"])
    assert alone["slowed"] == [None] * 3  # there is no other build of it to compare with


def test_the_correction_is_of_the_rounds_that_count_and_of_builds_that_have_them_all():
    """One build left after three rounds, and the spoilt second round does not count."""
    names = ("base zmq", "head zmq", "gone zmq", "base ray")
    rounds = rounds_module._Rounds(SimpleNamespace(), "seed")
    rounds.up = [SimpleNamespace(name=name, way=name.split()[1]) for name in names]
    slow, chosen = [1.0, 9.0, 1.8, 1.1, 1.7, 1.2, 1.6], [0, 2, 3, 4, 5, 6]
    for name, factor in zip(names, (1.0, 1.1, 1.0, 1.0), strict=True):
        left = 3 if name == "gone zmq" else None
        rounds._slowness[0, name] = [one * factor for one in slow][:left]
        rounds._seconds[0, name] = [one**0.5 for one in rounds._slowness[0, name]]
    slowness, longer = rounds._of_cores(0, len(slow), chosen)
    assert slowness["base zmq"] == [slow[number] for number in chosen]
    assert set(slowness) == {"base zmq", "head zmq", "base ray"}
    assert set(longer) == {"base zmq", "head zmq"}
    even = [
        rounds._seconds[0, name][at] / by
        for name in longer
        for at, by in zip(chosen, longer[name], strict=True)
    ]
    assert max(even) == pytest.approx(min(even))  # the cores were all that differed


@pytest.mark.timeout(120)
def test_contestants_of_two_builds_are_measured_in_one_session(tmp_path, monkeypatch):
    """Two commits, an environment each: what differs between them is seen, and no more.

    A build whose vLLM breaks as it is loaded, whatever it raises, goes on: its contestants say what it was.
    """
    fake.put(monkeypatch, tmp_path)
    shutil.copytree(fake.FAKE_SUT, tmp_path / "sut")
    (tmp_path / "sut" / "vllm" / "__init__.py").write_text("raise AttributeError('transformers has no X')\n")
    (tmp_path / "sut" / "rollout_perf" / "speed.py").write_text("SLOWDOWN = {}\nBYTES = 1001\n")
    pythons = {
        "base": Interpreter(sys.executable, dict(os.environ)),
        "head": Interpreter(sys.executable, os.environ | {"PYTHONPATH": str(tmp_path / "sut")}),
    }
    contestants = [Contestant("zmq", name, python, {"commit": name * 2}) for name, python in pythons.items()]
    with nothing_left():
        records = run_session("nano", contestants, fixed("nano", [1]), 3, 1, print)
    found = {
        one.provenance["side"]: (one.status, one.provenance["commit"], one.metrics["wire_bytes"])
        for one in records
    }
    assert found == {"base": ("measured", "basebase", [1000.0]), "head": ("measured", "headhead", [1001.0])}
    assert [len(one.metrics["step_seconds"]) for one in records] == [3, 3]


def test_replicas_and_entries_are_combined_with_the_plain_way_first():
    given = SimpleNamespace(entry=["zmq", "local"], replicas=[2, 1], routing=["sticky", "round-robin"])
    assert ways(given, ["sync"]) == [
        "sync", "sync@zmq", "sync@local*2-sticky", "sync@zmq*2-sticky", "sync@local*2-round-robin",
        "sync@zmq*2-round-robin",
    ]  # fmt: skip
    assert [*map(engines, ways(given, ["sync"]))] == [1, 1, 2, 2, 2, 2]


@pytest.mark.timeout(60)
def test_replicas_are_a_way_of_their_own_and_a_record_says_what_each_had(tmp_path, monkeypatch):
    """Counts are of all engines; in a group of two samples both say that they belong together."""
    fake.put(monkeypatch, tmp_path)
    load = Workload(prompts=2, samples=2, prompt_tokens=8, output_tokens=4)
    one, two = run_session(
        "nano", [*map(Contestant, ["zmq@zmq", "zmq@zmq*2-sticky"])], [load], 2, 1, [].append, repeat_share=0.0
    )
    assert (one.status, two.status, two.entry) == ("measured", "measured", "zmq*2-sticky"), two.reason
    assert "replicas" not in one.observed
    assert [each["requests"] for each in two.observed["replicas"]] == [4, 4]
    steps = two.observed["replicas"][1]["last_rollout"]["engine_steps"]
    assert two.metrics["engine_step_seconds"][-1] == pytest.approx(two.metrics["step_seconds"][-1] / steps)
    assert "wire_bytes" not in two.metrics
    assert sorted((tmp_path / "engines_of").read_text().split("\n")) == ["", "1 round-robin", "2 sticky"]
    last = (tmp_path / "sessions").read_text().splitlines()
    assert "1/0 1/0 1/1 1/1" in last
    assert [line for line in last if "None" not in line] == [f"{n}/0 {n}/0 {n}/1 {n}/1" for n in (-1, 0, 1)]


@pytest.mark.timeout(60)
def test_a_start_that_takes_all_of_the_time_breaks_nothing_for_those_that_are_up(tmp_path, monkeypatch):
    """What is left of the deadline for those asked after it is 0 s, and not less."""
    fake.put(monkeypatch, tmp_path, FAKE_BEHAVIOUR="zmq:hangs")
    monkeypatch.setattr(session, "_START_DEADLINE_SECONDS", 3.0)
    with nothing_left():
        records = run_session(
            "nano",
            [*map(Contestant, ["zmq", "vllm-mp"])],
            fixed("nano", [1]),
            2,
            1,
            [].append,
            deadline_seconds=30.0,
        )
    assert {one.path: one.status for one in records} == {"vllm-mp": "measured", "zmq": FAILED}
    [zmq] = [one for one in records if one.path == "zmq"]
    assert zmq.reason.splitlines()[0] == "zmq did not start within 3 s"


def test_whoever_is_up_does_not_wait_for_the_others_as_long_as_they_like(monkeypatch, capsys):
    """One that hangs costs a multiple of what the first to be up took; a slow host gives all of them more."""
    monkeypatch.setattr(rounds_module, "_PATIENCE_SECONDS", 0.2)
    channels = [rounds_module._Channel({"build": build, "path": "zmq"}) for build in ("base", "head", "")]
    os.write(channels[1].theirs[1], b"ready\n")
    os.close(channels[2].theirs[1])  # it has ended
    begin = time.monotonic()
    assert rounds_module._wait(channels, 30.0) == [channels[1]]
    assert time.monotonic() - begin < 3.0
    assert capsys.readouterr().out == "base zmq did not start within 0 s\n"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--warmups", "-1"], "--warmups is -1"),
        (["--output", "/no/such/folder/records"], "--output is '/no/such/folder/records', which cannot be"),
        (["--starts", "0"], "--starts is 0"),
        (["--from", "records"], "give either --path or --system, to measure, or --from"),
        (["--rounds", "1"], "--rounds is 1"),
        (["--metric", "speed"], "unknown metric 'speed'"),
        (["--reference", "pigeon"], "unknown path 'pigeon'"),
        (["--replicas", "2,0"], "--replicas is 0"),
        (["--routing", "sticky"], "--routing says where requests go of several engines"),
        (["--replicas", "2", "--routing", "stick"], "unknown routing 'stick' (did you mean sticky?)"),
    ],
)
def test_a_bad_request_is_refused_in_a_line_before_any_engine_starts(more, why, capsys):
    assert cli.main(["compare", "--path", "zmq", *more]) == 2
    said = capsys.readouterr().err
    assert why in said
    assert said.count("\n") == 1
