"""The one adapter between vLLM and transports: a vLLM executor that any transport can carry.

vLLM builds it in the engine's process; which transport, in which folder
and with which deadlines it finds in the run that its environment names (see `run`). An engine
step is one call: vLLM asks to execute the model and to sample separately, and both go out
together when it asks to sample.
Knows of a transport what `base` says of all, and none by name.
"""

import os
import secrets
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from vllm.platforms import current_platform
from vllm.v1.executor.abstract import Executor

from ..errors import ConfigurationError, EngineError
from . import TRANSPORTS, rendezvous, wire
from .base import HostSpec, inherited
from .reply import Reply
from .run import Run
from .watcher import note_shared_memory
from .worker import STEP

TRANSPORT_FACTS = "rollout_perf_transport_facts"
"""A collective call that the executor answers itself: the transport's facts and counters."""

_NOTHING: Future = Future()
_NOTHING.set_result(None)


class TransportExecutor(Executor):
    """Runs vLLM's workers behind a transport; async scheduling on, steps never block."""

    uses_ray = False
    supports_pp = True

    def _init_executor(self) -> None:
        run = Run.from_environment()
        parallel = self.parallel_config
        world_size = parallel.world_size
        if world_size != parallel.tensor_parallel_size * parallel.pipeline_parallel_size:
            raise ConfigurationError(
                f"{world_size} workers were asked for; there is tensor and pipeline parallelism alone"
            )
        self._run = run
        self._failure_callback: Callable[[], None] | None = None
        self._scheduled: Any = None
        self._last_step: Reply | None = None
        self._output_rank = [world_size - parallel.tensor_parallel_size]
        self._everyone = range(world_size)
        self.transport = TRANSPORTS[run.transport].make(world_size, run.folder, run.endpoint)
        self.transport.on_failure(self._failed)
        self._finalizer = weakref.finalize(self, self.transport.close)
        payload = {
            "vllm_config": self.vllm_config,
            "distributed_init_method": self._init_method(),
            "local_ranks": run.placement.local_ranks if run.placement else list(self._everyone),
        }
        spec = HostSpec(
            factory="rollout_perf.transports.worker:VllmHost",
            payload=bytes(wire.encode(payload)[0]),
            environment=inherited(),
            gpus=1 if current_platform.is_cuda_alike() else 0,
            placement=run.placement,
        )
        try:
            self.transport.start(spec, run.start_deadline_seconds)
        except EngineError as error:
            run.note_failure(error)
            raise

    def _init_method(self) -> str:
        """How the workers find each other."""
        if self._run.placement is not None:
            return rendezvous.across(self._run.placement.store)
        # By a file, as vLLM's own executors do: torch's server for tcp listens on every interface.
        group = secrets.token_hex(8)
        note_shared_memory(self._run.folder, f"*{group}-*-cpushm_*")  # so vLLM names it, on the CPU
        return f"file://{self._run.folder}/store:{group}"

    def _failed(self, error: EngineError) -> None:
        self._run.note_failure(error)
        if self._failure_callback is not None:
            self._failure_callback()

    def register_failure_callback(self, callback: Callable[[], None]) -> None:
        self._failure_callback = callback

    def collective_rpc(
        self,
        method: str | Callable,
        timeout: float | None = None,
        args: tuple = (),
        kwargs: dict | None = None,
        non_block: bool = False,
    ) -> Any:
        """vLLM's call to every worker; the replies of all, in rank order."""
        if method == TRANSPORT_FACTS:
            return [self.facts()]
        deadline = self._run.start_deadline_seconds if timeout is None else timeout
        encode = partial(wire.encode, (method, args, kwargs or {}))
        reply = self._send(encode, self._everyone, deadline, self._decode_all)
        return reply if non_block else reply.result()

    def execute_model(self, scheduler_output: Any, non_block: bool = False) -> Any:
        if scheduler_output.total_num_scheduled_tokens and not self._is_pooling:
            # Sampling follows: hold this back, and send both as one call.
            assert self._scheduled is None, "vLLM asked for a second step before it sampled the first"
            self._scheduled = scheduler_output
            return _NOTHING if non_block else None
        return self._step(scheduler_output, None, non_block)

    def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
        scheduler_output, self._scheduled = self._scheduled, None
        return self._step(scheduler_output, grammar_output, non_block)

    def _step(self, scheduler_output: Any, grammar_output: Any, non_block: bool) -> Any:
        encode = partial(wire.encode, (STEP, (scheduler_output, grammar_output), {}))
        if self._last_step is not None and not self._last_step.done():
            self.transport.counters.steps_ahead += 1
        self._last_step = reply = self._send(
            encode, self._output_rank, self._run.step_deadline_seconds, self._decode_step
        )
        return reply if non_block else reply.result()

    def _send(self, encode: Callable[[], list], ranks: Any, deadline_seconds: float, then: Callable) -> Any:
        begin = time.perf_counter()
        message = encode()
        self.transport.counters.encode_seconds += time.perf_counter() - begin
        reply = self.transport.send(message, ranks, deadline_seconds, then)
        reply.add_done_callback(self._note)
        return reply

    def _decode_all(self, messages: list) -> list:
        return [wire.decode(message) for message in messages]

    def _decode_step(self, messages: list) -> Any:
        begin = time.perf_counter()
        value = wire.decode(messages[0])
        self.transport.counters.decode_seconds += time.perf_counter() - begin
        return value

    def _note(self, reply: Reply) -> None:
        error = reply.exception()
        if isinstance(error, EngineError):
            self._run.note_failure(error)

    @property
    def max_concurrent_batches(self) -> int:
        """Engine steps that may be under way: before 0.23 vLLM asks its executor, see `versions`."""
        stages: int = self.parallel_config.pipeline_parallel_size
        return 2 if stages == 1 and self.scheduler_config.async_scheduling else stages

    @property
    def _is_pooling(self) -> bool:
        return self.model_config.runner_type == "pooling"

    def facts(self) -> dict[str, Any]:
        """Facts of the live transport and what it has carried so far."""
        return {
            "executor": f"{type(self).__module__}.{type(self).__qualname__}",
            "engine_pid": os.getpid(),
            **({"nodes": self._run.placement.describe()} if self._run.placement else {}),
            **self.transport.describe(),
            "counters": self.transport.counters.as_dict(),
        }

    def check_health(self) -> None:
        self.transport.check()

    def shutdown(self) -> None:
        self._finalizer()

    @classmethod
    def supports_async_scheduling(cls) -> bool:
        return True
