"""What a rollout needs of an engine, and what both engines of vLLM share.

Knows the objects that go into vLLM and come out of it; not how an engine is started or waited for.
"""

import asyncio
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from ..errors import ConfigurationError, EngineError, RolloutError
from ..transports import Row
from ..transports.run import Run

if TYPE_CHECKING:
    from .other_nodes import OtherNodes

Request = tuple[str, int, list[int], Any, int]
"""Name, index of the prompt, its token ids, a Sampling, number of the sample."""


Result = list[dict[str, Any]]
"""Of a request, for each of its samples the fields of a Sequence; but for its times from the caller's view
`arrived_at` (at the front), `queued_at` and `done_at`, on the monotonic clock."""

Tokens = list[list[int]]
"""Of a request that streams, for each of its samples that has new tokens its number and their ids."""

Took = Callable[[int, Result | Tokens], None]
"""Takes the result of a request and its place in the list, in the event loop; of one that streams all its
tokens before that, as they come."""


def is_result(came: Result | Tokens) -> TypeGuard[Result]:
    """Whether that is the last that comes of a request."""
    return not isinstance(came[0], list)


NO_SLEEP = "this engine cannot sleep; start it with enable_sleep_mode=True, which vLLM takes on a GPU"

_NOT_INTERRUPTED = "this path takes a batch at a time, and none can be interrupted"


@dataclass(frozen=True)
class Limits:
    """What a request may ask of an engine."""

    tokens: int
    """Of a prompt and its answer together."""
    logprobs: int
    """Of most probable tokens, for each token."""


class Engine(ABC):
    """What a rollout needs of an engine: vLLM's in this process's hands, or one that an entry reaches."""

    @property
    @abstractmethod
    def limits(self) -> Limits:
        """What a request may ask for."""

    @abstractmethod
    async def generate(self, requests: list[Request], took: Took) -> None:
        """Generate all requests at once; `took` has each result as soon as it is there, and of what streams
        the tokens as they come.

        Returns when it has all. Raises one of the package's errors for the first that fails; the others are
        aborted then, as all are when it is cancelled.
        """

    @abstractmethod
    async def call_workers(self, method: str, args: tuple) -> list[Any]:
        """Call a method of every worker; replies in rank order."""

    async def abort(self, share: float) -> int:
        """End a share of the requests under way, which have what they have by then; how many.

        Under way is what the engine has; what waits to be sent to it is not.
        """
        raise ConfigurationError(_NOT_INTERRUPTED)

    async def pause(self, mode: str) -> None:
        """Have the engine compute nothing until `resume`; returns when it is quiet."""
        raise ConfigurationError(_NOT_INTERRUPTED)

    async def resume(self) -> None:
        """Go on."""
        raise ConfigurationError(_NOT_INTERRUPTED)

    async def sleep(self, level: int) -> None:
        """End all requests under way, and give memory back: weights to the host's (1) or to nobody (2)."""
        raise ConfigurationError(NO_SLEEP)

    async def wake_up(self, what: str | None) -> None:
        """Take all memory back, or that of "weights" or "kv_cache"; having both, go on."""
        raise ConfigurationError(NO_SLEEP)

    def go_direct(self) -> None:  # noqa: B027 - not every engine keeps anything
        """Have requests pass by what the engine keeps for each, where they can; before the first of them."""

    async def front_lag(self, watched: bool) -> list[float]:
        """How late the event loop of each front was since it was watched, and to watch it from now on or not.

        The caller's own, in which an engine is that no entry reaches, is none of them.
        """
        return []

    @abstractmethod
    async def describe(self) -> dict[str, Any]:
        """Facts of the live engine: versions, settings, executor, and the transport's own facts."""

    def serve_http(self, listener: socket.socket, key: str) -> asyncio.Task[Any]:
        """Serve requests by HTTP too, at a socket that listens, to whoever has the key, until cancelled.

        Raises ConfigurationError for an engine that has no server.
        """
        raise ConfigurationError("vLLM's server needs its asynchronous engine, which this path does not have")

    def served(self, names: list[str]) -> list[Result]:
        """The results of requests that were served by HTTP, each once."""
        raise NotImplementedError

    @abstractmethod
    async def close(self) -> None:
        """End the engine."""

    def check_length(self, index: int, prompt_tokens: int, max_tokens: int) -> None:
        """Raise ConfigurationError where prompt `index` and its answer exceed the model's length."""
        if prompt_tokens < 1 or prompt_tokens + max_tokens > self.limits.tokens:
            raise ConfigurationError(
                f"prompt {index} has {prompt_tokens} tokens and asks for {max_tokens}; "
                f"a prompt needs at least 1, and both together may be {self.limits.tokens} at most"
            )

    def check_logprobs(self, sampling: Any) -> None:
        """Raise ConfigurationError where a Sampling asks for more log-probabilities than the engine gives."""
        for name in ("logprobs", "prompt_logprobs"):
            asked = getattr(sampling, name)
            if asked is not None and asked > self.limits.logprobs:
                raise ConfigurationError(
                    f"{name} is {asked}; this engine gives {self.limits.logprobs} at most: as many as its "
                    "argument max_logprobs says, and as the vocabulary has tokens"
                )


class VllmEngine(Engine):
    """What both engines of vLLM share: limits, settings, results."""

    def __init__(self, row: Row, run: Run, config: Any):
        self._row = row
        self._run = run
        self._config = config
        self.beside: OtherNodes | None = None
        model = config.model_config
        vocabulary = model.get_vocab_size()
        most = vocabulary if model.max_logprobs == -1 else min(vocabulary, model.max_logprobs)
        self._limits = Limits(model.max_model_len, most)

    @property
    def limits(self) -> Limits:
        return self._limits

    def _check_sleep(self) -> None:
        """Raise ConfigurationError where vLLM was not started so that it can sleep: it would fail, or die."""
        if not self._config.model_config.enable_sleep_mode:
            raise ConfigurationError(NO_SLEEP)

    def _sampling(self, sampling: Any, sample: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            n=sampling.samples if sampling.one_request else 1,
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            ignore_eos=sampling.ignore_eos,
            seed=None if sampling.seed is None else sampling.seed + sample,
            logprobs=sampling.logprobs,
            prompt_logprobs=sampling.prompt_logprobs,
            detokenize=not self._config.model_config.skip_tokenizer_init,
            output_kind=RequestOutputKind.DELTA if sampling.stream else RequestOutputKind.FINAL_ONLY,
        )

    @staticmethod
    def _results(index: int, output: Any, arrived_at: float) -> Result:
        """Fields of each Sequence from vLLM's RequestOutput and its RequestStateStats; it came here then."""
        times, now = output.metrics, time.monotonic()  # one aborted before its first token has no times: 0.0
        return [
            {
                "prompt": index,
                "token_ids": list(completion.token_ids),
                "finish_reason": completion.finish_reason,
                "queue_seconds": max(0.0, times.scheduled_ts - times.queued_ts),
                "first_token_seconds": times.first_token_latency,
                "latency_seconds": times.first_token_latency + times.last_token_ts - times.first_token_ts,
                "arrived_at": arrived_at,
                "queued_at": times.queued_ts or now,
                "done_at": times.last_token_ts or now,
                "text": completion.text or None,
                "logprobs": _values(completion.logprobs),
                "prompt_logprobs": _values(output.prompt_logprobs),
            }
            for completion in output.outputs
        ]

    def _settings(self) -> dict[str, Any]:
        """The engine's resolved settings, those that decide how fast it is."""
        config = self._config
        compilation = config.compilation_config
        return {
            "dtype": str(config.model_config.dtype),
            "max_model_len": config.model_config.max_model_len,
            "seed": config.model_config.seed,
            "enforce_eager": config.model_config.enforce_eager,
            "quantization": config.model_config.quantization,
            "load_format": str(config.load_config.load_format),
            "max_num_seqs": config.scheduler_config.max_num_seqs,
            "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
            "async_scheduling": bool(config.scheduler_config.async_scheduling),
            "chunked_prefill": bool(config.scheduler_config.enable_chunked_prefill),
            "prefix_caching": bool(config.cache_config.enable_prefix_caching),
            "block_size": config.cache_config.block_size,
            "kv_cache_blocks": config.cache_config.num_gpu_blocks,
            "kv_cache_dtype": str(config.cache_config.cache_dtype),
            "compilation_mode": str(compilation.mode),
            "cudagraph_mode": str(compilation.cudagraph_mode),
            "cudagraph_capture_sizes": list(compilation.cudagraph_capture_sizes or []),
            "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
            "pipeline_parallel_size": config.parallel_config.pipeline_parallel_size,
        }

    async def describe(self) -> dict[str, Any]:
        import vllm
        from vllm.platforms import current_platform

        facts: dict[str, Any] = {
            "vllm": vllm.__version__,
            "platform": current_platform.device_type,
            "engine": self._settings(),
        }
        if self._row.transport is None:
            from vllm.v1.executor.abstract import Executor

            executor = Executor.get_class(self._config)
            nodes = (
                {} if self._run.placement is None else {"nodes": self._run.placement.describe(by_node=True)}
            )
            return facts | {"executor": f"{executor.__module__}.{executor.__qualname__}"} | nodes
        from ..transports.executor import TRANSPORT_FACTS

        (transport,) = await self.call_workers(TRANSPORT_FACTS, ())
        return facts | transport


def new_tokens(output: Any) -> Tokens:
    """What is new in vLLM's RequestOutput of a request that streams."""
    return [[one.index, *one.token_ids] for one in output.outputs if one.token_ids]


class Whole:
    """Outputs of vLLM's that have only what is new, put together."""

    def __init__(self) -> None:
        self._kept: Any = None

    def with_(self, output: Any) -> Any:
        """All that there is of a request, with one more output."""
        if self._kept is None:
            self._kept = output
        else:
            self._kept.add(output, aggregate=True)
            self._kept.metrics = output.metrics
        if output.finished:
            self._kept.outputs.sort(key=lambda one: one.index)
        return self._kept


def _values(positions: Any) -> list[dict[int, float]] | None:
    """Log-probabilities by id for each token, from vLLM's; nothing for one that has none."""
    if positions is None:
        return None
    return [{token: one.logprob for token, one in (position or {}).items()} for position in positions]


def translated(error: Exception, run: Run) -> RolloutError:
    """The package's own exception for what vLLM raised, with the cause that the run has noted."""
    if isinstance(error, RolloutError):
        return error
    noted = run.failure()
    if noted is not None:
        return noted
    text = f"{type(error).__name__}: {error}"
    return ConfigurationError(text) if isinstance(error, ValueError) else EngineError(text)
