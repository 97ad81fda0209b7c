"""surroundings.py: the environment is the caller's again once an engine has started, whatever it changed.

A fake engine changes what vLLM changes; that vLLM does no more than that is in test_rollout.py.
"""

import asyncio
import os
from contextlib import contextmanager
from typing import Any

import pytest

from rollout_perf import EngineError, open_rollout, rollout, surroundings
from rollout_perf.surroundings import importing, lent
from rollout_perf.transports import Row

CLUSTER = {"RAY_ADDRESS": "127.0.0.1:1", "RAY_AUTH_MODE": "token"}


@contextmanager
def cluster(folder):
    yield CLUSTER


class Engine:
    """Changes the environment as vLLM does when it starts."""

    started: list[dict[str, str]] = []

    async def close(self) -> None: ...

    @classmethod
    async def start(cls, model: Any, row: Row, run: Any, size: int, arguments: dict[str, Any]) -> "Engine":
        os.environ.setdefault("OMP_NUM_THREADS", str(size))
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ["LD_PRELOAD"] = f"/fake/{os.environ.get('LD_PRELOAD', '')}"
        os.environ.pop("NCCL_ASYNC_ERROR_HANDLING")
        cls.started.append(dict(os.environ))
        await asyncio.sleep(0.05)
        assert os.environ["ROLLOUT_PERF_RUN"] == str(run.folder)
        if arguments:
            raise EngineError("no start")
        return cls()


@pytest.fixture(autouse=True)
def fake_engine(monkeypatch):
    """In vLLM's place; and the caller's environment, which must be found again."""
    monkeypatch.setattr(Engine, "started", [])
    monkeypatch.setattr("rollout_perf.engine.start.start_engine", Engine.start)
    monkeypatch.setattr(rollout, "has_gpu", lambda: False)
    monkeypatch.setattr(rollout, "find_transport", lambda name: Row("", "", None, (), f"{__name__}:cluster"))
    monkeypatch.setenv("NCCL_ASYNC_ERROR_HANDLING", "1")
    for name in ("OMP_NUM_THREADS", "HF_HUB_OFFLINE", "LD_PRELOAD", *CLUSTER):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_rollouts_leave_the_environment_as_the_caller_has_it(order, monkeypatch):
    """Neither sees the other's, and what the caller changes meanwhile stays, be it to what an engine had."""
    before = dict(os.environ)

    async def use() -> None:
        opened = [open_rollout("nano", "zmq", size) for size in (1, 2)]
        await asyncio.gather(*(one.__aenter__() for one in opened))
        assert dict(os.environ) == before
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.delenv("NCCL_ASYNC_ERROR_HANDLING")
        for number in order:
            await opened[number].__aexit__(None, None, None)

    asyncio.run(use())
    own = {"HF_HUB_OFFLINE": "1", "RAY_AUTH_MODE": "token"}
    assert dict(os.environ) == {name: before[name] for name in before if name[:4] != "NCCL"} | own
    assert [one["OMP_NUM_THREADS"] for one in Engine.started] == ["1", "2"]
    assert [one["LD_PRELOAD"] for one in Engine.started] == ["/fake/", "/fake/"]
    assert all(one.items() >= CLUSTER.items() for one in Engine.started)


def test_a_start_that_fails_leaves_the_environment_as_it_was_and_the_next_one_can_start():
    before = dict(os.environ)

    async def use() -> None:
        with pytest.raises(EngineError, match="no start"):
            async with open_rollout("nano", fails=True):
                pass
        assert dict(os.environ) == before
        async with open_rollout("nano"):
            assert dict(os.environ) == before

    asyncio.run(use())
    assert dict(os.environ) == before


def test_what_an_import_has_set_is_there_for_every_engine_and_nowhere_else(monkeypatch):
    """vLLM sets it once in a process; without it the second engine would compile with other threads."""
    monkeypatch.setattr(surroundings, "_imported", {})
    monkeypatch.delenv("TORCHINDUCTOR_COMPILE_THREADS", raising=False)
    before = dict(os.environ)
    with importing("no_module_yet"):
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    assert dict(os.environ) == before

    async def compile_threads() -> str:
        async with lent():
            return os.environ["TORCHINDUCTOR_COMPILE_THREADS"]

    assert [asyncio.run(compile_threads()) for _start in range(2)] == ["1", "1"]
    assert dict(os.environ) == before
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "8")  # the caller's own choice
    assert asyncio.run(compile_threads()) == "8"
    assert os.environ["TORCHINDUCTOR_COMPILE_THREADS"] == "8"
