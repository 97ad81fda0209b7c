"""Requests that pass by what AsyncLLM keeps for each, for a front that has thousands of them.

AsyncLLM checks, copies and registers each request, and each of its tokens goes through a detokenizer,
statistics and the making of an output. A request that asks for token ids alone needs a list and five times.
Here it is a copy of one that vLLM has checked, and its outputs are taken, those of an engine step at once,
between vLLM's client of the engine and AsyncLLM. That has all others as ever, and says how the engine died.
"""

import time
from collections.abc import Callable, Iterable
from copy import copy
from typing import Any

from .base import Request, Tokens


def asks_for_ids_alone(sampling: Any) -> bool:
    """Whether a request can pass by AsyncLLM."""
    return sampling.logprobs is None and sampling.prompt_logprobs is None and not sampling.one_request


def rendered(prompt: list[int]) -> Any:
    """A prompt as vLLM's renderer makes it: another would pass through a thread."""
    return {"type": "token", "prompt_token_ids": prompt}


class _Answer:
    """What there is of a request: a RequestOutput of vLLM's, with its one completion and its times in one."""

    index = 0
    finished = True  # it is shown when it is
    text = logprobs = prompt_logprobs = None

    def __init__(self, take: Callable[[Any], None], took: Callable[[Tokens], None] | None):
        self.take = take
        self.took = took
        self.token_ids: list[int] = []
        self.finish_reason = ""
        self.arrival_time = time.time()
        self.queued_ts = self.scheduled_ts = self.first_token_ts = self.last_token_ts = 0.0
        self.first_token_latency = 0.0

    @property
    def metrics(self) -> "_Answer":
        return self

    @property
    def outputs(self) -> "list[_Answer]":
        return [self]


class Direct:
    """Those requests of an AsyncLLM that pass by it."""

    def __init__(self, llm: Any):
        from vllm.v1.engine import EngineCoreEventType

        self._llm = llm
        self._core = llm.engine_core
        self._next_outputs = self._core.get_output_async
        self._core.get_output_async = self._next_others
        self._queued, self._scheduled = EngineCoreEventType.QUEUED, EngineCoreEventType.SCHEDULED
        self._under_way: dict[str, _Answer] = {}
        self._checked: dict[tuple[Any, ...], Any] = {}

    async def add(
        self,
        request: Request,
        params: Callable[[Any, int], Any],
        take: Callable[[Any], None],
        took: Callable[[Tokens], None] | None,
    ) -> None:
        """Send a request. `take` has its answer, or an error; `took` the tokens of one that streams."""
        name, _index, prompt, sampling, sample = request
        kind = (sampling.temperature, sampling.top_p, sampling.ignore_eos, sampling.seed is None)
        if kind not in self._checked:
            inputs = self._llm.input_processor
            tasks = await self._llm.get_supported_tasks()
            checked = inputs.process_inputs(
                name, rendered(prompt), params(sampling, sample), supported_tasks=tasks
            )
            inputs.assign_request_id(checked)
            self._checked[kind] = checked
        one = copy(self._checked[kind])
        one.request_id = one.external_req_id = name
        one.prompt_token_ids = prompt
        one.sampling_params = copy(one.sampling_params)
        one.sampling_params.max_tokens = sampling.max_tokens
        one.sampling_params.seed = None if sampling.seed is None else sampling.seed + sample
        answer = self._under_way[name] = _Answer(take, took)
        one.arrival_time = answer.arrival_time
        self._llm._run_output_handler()
        await self._core.add_request_async(one)

    async def _next_others(self) -> Any:
        """The outputs of an engine step that AsyncLLM is to have, in place of all."""
        try:
            outputs = await self._next_outputs()
        except Exception as error:
            self._fail(error)
            raise
        now, others = time.time(), []
        for output in outputs.outputs:
            answer = self._under_way.get(output.request_id)
            if answer is None:
                others.append(output)  # or one that was aborted, of which AsyncLLM knows nothing
            else:
                self._take(answer, output, outputs.timestamp, now)
        outputs.outputs = others
        return outputs

    def _take(self, answer: _Answer, output: Any, timestamp: float, now: float) -> None:
        """Take an output as vLLM's RequestStateStats and its detokenizer do."""
        if output.events is not None:
            for event in output.events:
                if event.type == self._queued:
                    answer.queued_ts = event.timestamp
                elif event.type == self._scheduled and not answer.scheduled_ts:
                    answer.scheduled_ts = event.timestamp
        if not answer.first_token_ts:
            answer.first_token_ts = timestamp
            answer.first_token_latency = now - answer.arrival_time
        answer.last_token_ts = timestamp
        new = output.new_token_ids
        answer.token_ids += new
        if new and answer.took is not None:
            answer.took([[0, *new]])
        if output.finish_reason is not None:
            self._end(output.request_id, str(output.finish_reason))

    def _end(self, name: str, finish_reason: str) -> None:
        answer = self._under_way.pop(name)
        answer.finish_reason = finish_reason
        answer.take(answer)

    def _fail(self, error: Exception) -> None:
        failed, self._under_way = self._under_way, {}
        for answer in failed.values():
            answer.take(error)

    async def abort(self, names: Iterable[str]) -> None:
        """End those of the requests that are here, which have what they have by then."""
        found = [name for name in names if name in self._under_way]
        for name in found:
            self._end(name, "abort")
        await self._core.abort_requests_async(found)
