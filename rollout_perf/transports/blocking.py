"""The executor of the baselines: what verl's executors did between vLLM and their workers.

A step is two collective calls, to execute the model and to sample; every rank replies to both,
and the engine waits for both. So the next step cannot be scheduled while the GPU computes this
one, and async scheduling is off.
"""

from concurrent.futures import Future
from typing import Any

from .executor import TransportExecutor


class BlockingExecutor(TransportExecutor):
    """Runs vLLM's workers behind a transport, one collective call at a time; the first has the output."""

    supports_pp = False

    def execute_model(self, scheduler_output: Any, non_block: bool = False) -> Any:
        return self._ask_all("execute_model", scheduler_output, non_block)

    def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
        return self._ask_all("sample_tokens", grammar_output, non_block)

    def _ask_all(self, method: str, argument: Any, non_block: bool) -> Any:
        deadline = self._run.step_deadline_seconds
        first, *_others = self.collective_rpc(method, timeout=deadline, args=(argument,))
        if not non_block:
            return first
        settled: Future = Future()
        settled.set_result(first)
        return settled

    @classmethod
    def supports_async_scheduling(cls) -> bool:
        return False
