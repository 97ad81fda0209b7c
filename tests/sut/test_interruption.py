"""What of an interruption is refused; test_asynchronous has what is aborted, test_rollout the real thing."""

import asyncio
from types import SimpleNamespace

import pytest

from rollout_perf import ConfigurationError, Rollout
from rollout_perf.engine.asynchronous import AsyncEngine


def test_a_vllm_without_modes_and_an_unknown_mode_are_refused():
    engine = object.__new__(AsyncEngine)
    engine._llm = SimpleNamespace(pause_generation=lambda wait_for_inflight_requests: None)
    rollout = Rollout(None, None, engine)
    with pytest.raises(ConfigurationError, match="this vLLM cannot be paused in a mode"):
        asyncio.run(rollout.pause("keep"))
    with pytest.raises(ConfigurationError, match="unknown mode 'nap'; known: abort, wait, keep"):
        asyncio.run(rollout.pause("nap"))
