"""Every path with a real engine on the GPU, all of them up at once: what is not run there breaks unseen.

The baselines too: `verl-zmq` broke on GPUs alone, where vLLM leaves on the GPU what no pickle takes.
"""

import pytest
from leaks import nothing_left
from rollout_bench.measure import machine
from rollout_bench.measure.labels import LABELS
from rollout_bench.measure.session import Contestant, run_session
from rollout_bench.measure.tracked import fixed
from rollout_bench.schema.record import MEASURED, Record

PRESET = "qwen2.5-0.5b"
ROUNDS = 2

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(540)]


def session(paths: list[str], tensor_parallel_size: int = 1) -> dict[str, Record]:
    """A session of the paths at one small batch: a record each."""
    with nothing_left(only=("process", "shared memory")):
        records = run_session(
            PRESET,
            [*map(Contestant, paths)],
            fixed(PRESET, [8]),
            ROUNDS,
            1,
            print,
            tensor_parallel_size,
            arguments={"kv_cache_memory_bytes": 512 << 20},
        )
    return {record.path: record for record in records}


@pytest.fixture(scope="module")
def records() -> dict[str, Record]:
    return session(list(LABELS))


@pytest.mark.parametrize("path", LABELS)
def test_a_path_generates_what_is_forced_and_is_what_its_label_says(records, path):
    """Label and equal work have been checked where a record is measured."""
    record = records[path]
    assert (record.status, record.reason) == (MEASURED, None)
    assert len(record.metrics["step_seconds"]) == ROUNDS


@pytest.mark.parametrize("path", LABELS)
def test_the_gpu_is_timed_on_every_path(records, path):
    idle = records[path].metrics["gpu_idle_share"]
    assert len(idle) == ROUNDS
    assert all(0 < share < 1 for share in idle)
    assert records[path].observed["workers"][0]["device"].startswith("NVIDIA")


@pytest.mark.skipif(len(machine.gpus()) < 2, reason="needs two GPUs")
@pytest.mark.parametrize("path", ["vllm-mp", "zmq", "ray-graph"])
def test_a_path_drives_two_gpus(path):
    record = session([path], 2)[path]
    assert (record.status, record.reason) == (MEASURED, None)
    assert len(record.observed["workers"]) == 2


def test_an_engine_sleeps_gives_memory_back_and_generates_with_new_weights():
    plain = fixed(PRESET, [8])[0]
    loads = [plain, *(plain.asking(interrupt=way) for way in ("sleep:1", "sleep:2", "ipc:keep"))]
    with nothing_left(only=("process", "shared memory")):
        records = run_session(PRESET, [Contestant("zmq")], loads, ROUNDS, 0, print)
    for record in records:
        assert (record.status, record.reason) == (MEASURED, None)
    for record in records[1:3]:
        assert min(record.metrics["freed_bytes"]) > 0.9e9  # of weights
        assert min(record.metrics["renewed_seconds"]) > 0
    assert "update_seconds" not in records[1].metrics
    assert {"update_seconds", "renewed_seconds"} <= records[2].metrics.keys() & records[3].metrics.keys()
