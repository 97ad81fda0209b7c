"""Several engines as one: routing by hand, deaths, shares of a host; test_entries has the contract."""

import asyncio

import pytest
from fake_engine import FakeEngine

from rollout_perf import ConfigurationError, Sampling, WorkerDied, WorkerError
from rollout_perf.replicas import Replicas, Routing, shares


@pytest.mark.parametrize(
    ("name", "goes"),
    [
        # Of a, a, b, c; those of replica 0 are done; of a, d. Replica 1 dies; of b, e.
        ("round-robin", [0, 1, 2, 0, 1, 2, 0, 2]),
        ("least-in-flight", [0, 1, 2, 0, 0, 0, 2, 0]),
        ("sticky", [0, 0, 1, 2, 0, 0, 2, 0]),
    ],
)
def test_requests_go_where_the_routing_says(name, goes):
    routing = Routing(name, 3)
    went = [routing.choose(key) for key in "aabc"]
    for replica in [one for one in went if one == 0]:
        routing.done(replica)
    went += [routing.choose(key) for key in "ad"]
    routing.lose(1)
    went += [routing.choose(key) for key in "be"]
    assert went == goes


def test_what_is_longest_without_a_request_loses_its_home(monkeypatch):
    monkeypatch.setattr("rollout_perf.replicas._MOST_HOMES", 2)
    routing = Routing("sticky", 3)
    assert [routing.choose(key) for key in "abaca"] == [0, 1, 0, 2, 0]
    assert [*routing._homes] == ["c", "a"]


class Dying(FakeEngine):
    """Answers its first request and dies."""

    async def generate(self, requests, took):
        await super().generate(requests[:1], took)
        raise WorkerDied("worker 0 was killed")


def generated(engines, on_death, sampling=(), routing="round-robin"):
    """How often each of six requests was answered, and what the replicas say."""
    answers = dict.fromkeys(range(6), 0)
    replicas = Replicas(engines, Routing(routing, len(engines)), on_death)
    asked = [(f"r{n}", n, [n + 1], sampling[n] if sampling else Sampling(2), 0) for n in range(6)]

    def took(place, result):
        assert result[0]["token_ids"][0] == place + 1
        answers[place] += 1

    async def run():
        await replicas.generate(asked, took)
        return await replicas.describe()

    return answers, asyncio.run(run())


def test_requests_of_a_replica_that_dies_go_to_the_others_each_answered_once():
    answers, facts = generated([FakeEngine(), Dying(), FakeEngine()], "retry")
    assert answers == dict.fromkeys(range(6), 1)
    assert [one["requests"] for one in facts["replicas"]] == [3, 2, 2]
    assert [one["retried"] for one in facts["replicas"]] == [0, 1, 0]
    assert facts["replicas"][1]["died"] == "replica 1 has ended: worker 0 was killed"


def test_or_they_fail_with_the_cause_and_so_does_what_is_asked_afterwards():
    dying = Dying()
    replicas = Replicas([FakeEngine(1.0), dying], Routing("round-robin", 2), "fail")
    asked = [(f"r{n}", n, [n + 1], Sampling(60), 0) for n in range(2)]

    async def run():
        for _ in range(2):
            with pytest.raises(WorkerDied, match="replica 1 has ended: worker 0 was killed"):
                await asyncio.wait_for(replicas.generate(asked, lambda *_: None), 5)

    dying._token_seconds = 0.0
    asyncio.run(run())
    assert replicas._engines[0].seen.now == 0  # the others' requests were aborted
    assert replicas._routing._in_flight == [0, 0]


def test_what_streams_is_in_flight_until_its_answer_and_is_not_tried_elsewhere():
    """It has begun in its caller's hands."""
    asked = [(f"r{n}", n, [n + 1], Sampling(3, stream=True), 0) for n in range(4)]
    replicas = Replicas([FakeEngine(), FakeEngine()], Routing("least-in-flight", 2), "fail")
    asyncio.run(replicas.generate(asked, lambda *_: None))
    assert replicas._routing._in_flight == [0, 0]
    with pytest.raises(
        ConfigurationError, match='cannot begin again elsewhere; open it with on_death="fail"'
    ):
        generated([FakeEngine(), FakeEngine()], "retry", [Sampling(3, stream=True)] * 6)


def test_nobody_is_left_and_what_a_worker_raises_is_not_tried_elsewhere():
    with pytest.raises(WorkerDied, match=r"replica \d has ended"):
        generated([Dying(), Dying()], "retry")

    class Raising(FakeEngine):
        async def generate(self, requests, took):
            raise WorkerError("sabotage")

    well = FakeEngine()
    with pytest.raises(WorkerError, match=r"^sabotage$"):
        generated([Raising(), well], "retry")
    assert well.seen.most == 3


def test_a_replica_that_is_slow_gets_what_the_others_are_too_busy_for():
    """Twelve requests, two at a time: the slow one is never done with its first."""
    replicas = Replicas([FakeEngine(1.0), FakeEngine(0.001)], Routing("least-in-flight", 2), "fail")

    async def run():
        left = iter(range(12))

        async def send():
            for number in left:
                await replicas.generate([(f"r{number}", 0, [1], Sampling(9), 0)], lambda *_: None)

        _done, slow = await asyncio.wait(
            [asyncio.create_task(send()) for _ in range(2)], return_when=asyncio.FIRST_COMPLETED, timeout=5
        )
        for one in slow:
            one.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    asyncio.run(run())
    assert [one["requests"] for one in replicas._seen] == [1, 11]


def test_a_session_stays_where_it_began_and_samples_of_a_prompt_are_together():
    sessions = [Sampling(2, session=name) for name in "ababab"]
    _answers, facts = generated([FakeEngine(), FakeEngine()], "retry", sessions, "sticky")
    assert [one["requests"] for one in facts["replicas"]] == [3, 3]
    replicas = Replicas([FakeEngine(), FakeEngine()], Routing("sticky", 2), "retry")
    asked = [(f"r{n}", index, [1], Sampling(2), 0) for n, index in enumerate([0, 0, 0, 1])]
    asyncio.run(replicas.generate(asked, lambda *_: None))
    assert [one["requests"] for one in replicas._seen] == [3, 1]


@pytest.mark.parametrize(
    ("replicas", "size", "gpus", "cores", "given", "expected"),
    [
        (2, 1, [], 9, {}, [({"OMP_NUM_THREADS": "4"}, {})] * 2),
        (2, 1, [], 2, {}, [({"OMP_NUM_THREADS": "1"}, {})] * 2),
        (2, 1, [], 0, {}, [({}, {})] * 2),
        (2, 1, ["0"], 9, {}, [({"CUDA_VISIBLE_DEVICES": "0"}, {"gpu_memory_utilization": 0.45})] * 2),
        (2, 1, ["0"], 9, {"kv_cache_memory_bytes": 1}, [({"CUDA_VISIBLE_DEVICES": "0"}, {})] * 2),
        (2, 1, ["3", "5"], 9, {}, [({"CUDA_VISIBLE_DEVICES": one}, {}) for one in "35"]),
        (2, 2, [*"0123"], 9, {}, [({"CUDA_VISIBLE_DEVICES": one}, {}) for one in ("0,1", "2,3")]),
        (3, 1, ["0", "1"], 9, {}, [
            ({"CUDA_VISIBLE_DEVICES": one}, {"gpu_memory_utilization": 0.45}) for one in "010"
        ]),
    ],
)  # fmt: skip
def test_each_replica_has_its_share_of_the_host(replicas, size, gpus, cores, given, expected):
    assert shares(replicas, size, gpus, cores, given) == expected


def test_what_nobody_knows_is_refused():
    with pytest.raises(ConfigurationError, match="unknown routing 'fair'; known: round-robin, "):
        Routing("fair", 2)
