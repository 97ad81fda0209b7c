"""host_state.py: what others had of the host in a round, which rounds they spoilt, and which ones count."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from rollout_bench.measure import host_state
from rollout_bench.measure.host_state import Host, between, quietest, spoilt
from rollout_bench.schema import variables

GPU = {
    "clock_hertz": 1.98e9,
    "memory_used_bytes": 1,
    "throttled_seconds": {},
    "others": 0,
    "others_share": 0.0,
}


def facts(**others: Any) -> dict[str, Any]:
    """Of a round of a second on 2 cores which nobody disturbs, and the session keeps busy."""
    quiet = {"seconds": 1.0, "cores": 2, "others_seconds": 0.05, "idle_seconds": 0.1, "stolen_seconds": 0.0}
    return quiet | {"load": 9.0, "stalled_seconds": 1.0, "own_seconds": 1.9, "gpus": [GPU]} | others


@pytest.mark.parametrize(
    ("others", "says"),
    [
        ({}, None),  # a load of 9 and full pressure are its own
        ({"others_seconds": 0.19}, None),
        ({"others_seconds": 0.2}, "other processes had 0.2 of 2 cores"),
        ({"others_seconds": 0.9, "idle_seconds": 1.0}, None),  # half of the cores were idle
        ({"seconds": 0.1, "others_seconds": 0.09, "idle_seconds": 0.0}, None),  # ticks
        ({"stolen_seconds": 0.09}, None),
        ({"stolen_seconds": 0.1}, "other virtual machines had 0.1 of 2 cores"),
        ({"stolen_seconds": 0.3, "cores": 16, "idle_seconds": 8.0}, None),
        ({"stolen_seconds": 0.3, "cores": 16, "idle_seconds": 12.0}, "other virtual machines had 0.3 of 16"),
        ({"others_seconds": None, "idle_seconds": None, "stolen_seconds": None}, None),
        ({"gpus": [GPU, GPU | {"throttled_seconds": {"power": 1.0}}]}, None),
        ({"gpus": [GPU, GPU | {"throttled_seconds": {"thermal": 0.06}}]}, "clock was held down (thermal)"),
        ({"gpus": [GPU | {"others": 3, "others_share": 0.0}]}, None),
        ({"gpus": [GPU | {"others": 1, "others_share": 0.3}]}, "computed for others for 30% of the time"),
        ({"gpus": [GPU | {"others": None, "others_share": None}]}, None),
    ],
)
def test_a_round_is_spoilt_by_what_others_had_and_not_by_what_the_session_uses(others, says):
    found = spoilt(facts(**others))
    assert (found is None) if says is None else says in found


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([0.0, 0.0, 0.0], [0, 1, 2]),
        ([0.9, 0.0, 0.0, 0.5, 0.0], [1, 2, 4]),
        ([0.9, 0.0, 0.5, 0.3, 0.7], [1, 2, 3]),
        ([0.0], [0]),  # the session has broken off
    ],
)
def test_rounds_that_count_are_those_that_nobody_spoilt_and_then_the_quietest(others, chosen):
    rounds = [facts(others_seconds=one, spoilt="yes" if one else None) for one in others]
    assert quietest(rounds, 3) == chosen
    assert host_state.observed(rounds, chosen)["spoilt"] == sum(others[one] > 0 for one in chosen)


def test_what_others_had_is_the_work_of_the_cores_less_that_of_the_run_and_of_its_dead(tmp_path, monkeypatch):
    """A child that ends within the round is in what its parent has waited for."""
    monkeypatch.setattr(host_state, "_PROC", tmp_path)
    monkeypatch.setattr(host_state.os, "sched_getaffinity", lambda _pid: {0, 2})
    monkeypatch.setenv(variables.MARK, "ours")
    monkeypatch.setitem(sys.modules, "pynvml", None)

    def process(pid: int, mark: str, *ticks: int) -> None:
        (tmp_path / str(pid)).mkdir(exist_ok=True)
        (tmp_path / str(pid) / "environ").write_text(f"A=1\0{variables.MARK}={mark}\0")
        text = f"{pid} (a ) name) S {'0 ' * 10}{' '.join(map(str, ticks))} 0 0"
        (tmp_path / str(pid) / "stat").write_text(text)

    def cores(*rows: str) -> None:
        (tmp_path / "stat").write_text("".join(f"{row} 0 0\n" for row in ("cpu 0 0 0 0 0 0 0 0", *rows)))

    process(10, "ours", 100, 50, 0, 0)
    process(11, "ours", 20, 0, 0, 0)
    process(12, "another's", 500, 0, 0, 0)
    (tmp_path / "loadavg").write_text("1.25 1 1 2/97 1")
    cores("cpu0 100 100 100 500 50 7 7 0", "cpu1 9 9 9 9 9 9 9 9", "cpu2 0 0 0 0 0 0 0 0")
    host = Host()
    before = host.look()
    process(10, "ours", 140, 60, 30, 0)
    (tmp_path / "11" / "stat").unlink()
    (tmp_path / "11" / "environ").unlink()
    (tmp_path / "11").rmdir()
    process(12, "another's", 900, 0, 0, 0)
    cores("cpu0 160 120 120 530 60 99 99 10", "cpu1 99 99 99 99 99 99 99 99", "cpu2 20 0 0 70 0 0 0 0")
    found = between(before, host.look())
    assert found["own_seconds"] == pytest.approx(0.6)
    assert found["others_seconds"] == pytest.approx(1.2 - 0.6)
    assert (found["idle_seconds"], found["stolen_seconds"]) == pytest.approx((1.1, 0.1))
    assert (found["cores"], found["load"], found["stalled_seconds"], found["gpus"]) == (2, 1.25, None, [])


class Nvml(SimpleNamespace):
    """In place of nvidia-ml-py: two GPUs, of which the second is busy, and does not tell all."""

    NVML_CLOCK_SM = 1

    class NVMLError(Exception):
        pass

    def __init__(self):
        self.heat = 0
        super().__init__(
            nvmlInit=lambda: None,
            nvmlDeviceGetCount=lambda: 2,
            nvmlDeviceGetHandleByIndex=lambda number: number,
            nvmlDeviceGetUUID=lambda number: f"GPU-{number}",
            nvmlDeviceGetClockInfo=lambda number, _kind: 1000 + number,
            nvmlDeviceGetMemoryInfo=lambda _number: SimpleNamespace(used=5),
            nvmlDeviceGetComputeRunningProcesses=lambda _number: [SimpleNamespace(pid=one) for one in (1, 2)],
            nvmlDeviceGetProcessUtilization=lambda _number, _since: [
                SimpleNamespace(pid=1, smUtil=70), SimpleNamespace(pid=2, smUtil=20)
            ],
            nvmlDeviceGetViolationStatus=self.violation,
        )  # fmt: skip

    def violation(self, number: int, policy: int) -> Any:
        if policy == 3:
            raise self.NVMLError
        self.heat += 250_000_000
        return SimpleNamespace(violationTime=self.heat)


@pytest.mark.parametrize(("own", "others", "share"), [({1}, 1, 0.2), ({1, 2}, 0, 0.0), ({7}, None, None)])
def test_a_gpu_tells_clock_memory_throttling_and_others_by_the_pids_of_the_run(
    own, others, share, monkeypatch
):
    """Where it lists none of ours, its pids are not this container's, and who is another is not known."""
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    host = Host()
    monkeypatch.setattr(
        Host, "_own_seconds", lambda self: self._own.update(dict.fromkeys(map(str, own), True)) or 0.0
    )
    [gpu] = between(host.look(), host.look())["gpus"]
    assert (gpu["clock_hertz"], gpu["memory_used_bytes"]) == (1.001e9, 5)
    assert gpu["throttled_seconds"] == {"power": 0.5, "thermal": 0.5}
    assert (gpu["others"], gpu["others_share"]) == (others, share)
