"""Another's system beside engines of ours: measured where it does the work, refused in a line where not."""

import asyncio
from dataclasses import replace

import fake
import pytest
from leaks import nothing_left
from rollout_bench.cli import main as cli
from rollout_bench.measure import session
from rollout_bench.measure.equal_work import check_equal_work
from rollout_bench.measure.session import Contestant, run_session
from rollout_bench.measure.submit import UnequalWork
from rollout_bench.measure.system import Stalled, SystemRollout
from rollout_bench.measure.tracked import fixed
from rollout_bench.report.rollouts import rollout_table
from rollout_bench.schema.record import ABSENT, FAILED, MEASURED


@pytest.mark.timeout(60)
def test_systems_are_measured_beside_an_engine_and_bad_ones_are_refused(tmp_path, monkeypatch):
    fake.put(monkeypatch, tmp_path)
    monkeypatch.chdir(fake.ROOT / "tests" / "support")  # where the command is called
    monkeypatch.setattr(session, "_STEP_DEADLINE_SECONDS", 0.4)
    names = ["good", "short", "mixed_up", "silent", "half", "nobody"]
    systems = [f"adapters:{name}" for name in names]
    [plain] = fixed("nano", [2])
    loads = [plain, plain.asking(logprobs=0)]
    with nothing_left():
        records = run_session("nano", [*map(Contestant, ["vllm-mp", *systems])], loads, 2, 1, [].append)
    found = {(one.path.removeprefix("adapters:"), one.workload["name"]): one for one in records}
    outcomes = {path: (one.status, one.reason) for (path, load), one in found.items() if load == "fixed"}
    assert outcomes.pop("vllm-mp") == outcomes.pop("good") == (MEASURED, None)
    assert outcomes.pop("nobody")[0] == outcomes.pop("half")[0] == ABSENT
    assert outcomes == {
        "short": (FAILED, "UnequalWork: the request 'r0' has an answer of 4 tokens, and exactly 8 token ids "
                  "were asked for"),
        "mixed_up": (FAILED, "UnequalWork: the request 'r0' has an answer of 1 tokens, and exactly 8 token "
                     "ids were asked for"),
        "silent": (FAILED, "Stalled: 7 of 8 requests had no answer after 0.8 s"),
    }  # fmt: skip
    assert "has no function 'nobody'; give MODULE:FUNCTION" in found["nobody", "fixed"].reason
    assert "cannot generate, describe, stop: give MODULE:FUNCTION" in found["half", "fixed"].reason
    good = found["good", "fixed"]
    assert {
        "step_seconds",
        "done_99_seconds",
        "latency_p99_seconds",
        "host_peak_bytes",
        "caller_cpu_seconds",
    } <= {name for name, samples in good.metrics.items() if len(samples) == 2}
    assert good.observed["adapter"] == str(fake.ROOT / "tests" / "support" / "adapters.py")
    assert found["good", "fixed-logprobs-0"].reason == "a system is asked for tokens alone"
    assert "adapters:good" in rollout_table(records, "vllm-mp")


@pytest.mark.parametrize(
    ("answers", "error", "why"),
    [
        (lambda a, b: [(a, [1, 2]), (b, [3])], None, ""),
        (lambda a, b: [(b, [3]), (a, [1, 2])], None, ""),
        (lambda a, _b: [(a, [1, 2]), (a, [1, 2])], UnequalWork, "'r0' was answered twice"),
        (lambda a, _b: [(a, [1, 2]), ("r9", [3])], UnequalWork, "'r9' was answered, which nobody has asked"),
        (lambda a, _b: [(a, [1, 2])], UnequalWork, "1 of 2 requests were answered"),
        (lambda a, b: [(a, [1, 2]), (b, [])], UnequalWork, "'r1' has an answer of 0 tokens, and exactly 1"),
        (
            lambda a, b: [(a, "ab"), (b, [3])],
            UnequalWork,
            "'r0' has an answer of 2 tokens, and exactly 2 token",
        ),
        (None, Stalled, "2 of 2 requests had no answer after 0.1 s"),
    ],
)
def test_each_answer_is_held_against_its_request(answers, error, why):
    class System:
        async def generate(self, requests):
            if answers is None:
                await asyncio.Event().wait()
            for one in answers(*(request.id for request in requests)):
                yield one

    rollout = SystemRollout(System(), 0.1)
    generating = rollout.generate([[100], [101]], [2, 1])
    if error is None:
        assert [one.token_ids for one in asyncio.run(generating)] == [[1, 2], [3]]
    else:
        with pytest.raises(error, match=why):
            asyncio.run(generating)


def test_a_system_of_another_vllm_did_other_work():
    """And one that does not say which it has is held against the workload and its tokens alone."""
    load = fixed("nano", [2])[0].as_dict()
    engine = session.Record("vllm-mp", "nano", 1, load, MEASURED, observed={
        "workers": [], "engine": {}, "tokens_generated": load["tokens"], "vllm": "1",
    })  # fmt: skip
    found = [
        replace(
            engine, path=f"adapters:{name}", observed={"tokens_generated": load["tokens"], "system": says}
        )
        for name, says in (("same", {"vllm": "1"}), ("other", {"vllm": "2"}), ("mute", {}))
    ]
    _engine, same, other, mute = check_equal_work([engine, *found])
    assert (same.status, mute.status) == (MEASURED, MEASURED)
    assert other.reason == "other work than vllm-mp: vllm '2' against '1'"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (
            ["--system", "no.such:start"],
            "the system 'no.such:start' is not found: ModuleNotFoundError: No module",
        ),
        (["--system", "adapters"], "the system 'adapters' is not found: give MODULE:FUNCTION"),
        (["--system", "adapters:nobody"], "adapters has no function 'nobody'; give MODULE:FUNCTION"),
        (["--system", "adapters:good", "--timeline"], "--timeline looks into engines"),
        ([], "nothing is given to measure: give --path, or --system"),
    ],
)
def test_a_bad_system_is_refused_in_a_line_before_anything_starts(more, why, capsys):
    assert cli.main(["measure", *more]) == 2
    said = capsys.readouterr().err
    assert why in said
    assert said.count("\n") == 1
