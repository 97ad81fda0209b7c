"""The public door: open a rollout, generate, leave; nothing of it stays behind.

Knows neither vLLM (see `engine`) nor any transport or entry.
"""

import asyncio
import itertools
import multiprocessing.resource_tracker
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from collections.abc import Sequence as ListLike
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from .engine import Engine, EngineSpec, Result, Tokens, has_gpu, is_result, visible_gpus, worker_count
from .entries import LOCAL, Entry, find_entry
from .entries.lag import LoopLag
from .errors import ConfigurationError
from .models import Model, find_model
from .replicas import FAIL, ROUND_ROBIN, Replicas, Routing, check_on_death, shares
from .surroundings import lent
from .transports import Row, find_transport
from .transports.placement import Nodes, check_nodes, placed
from .transports.run import Run

_END_SECONDS = 10.0

OnTokens = Callable[[int, int, list[int]], None]
"""Takes the index of a prompt, the number of a sample of it, and the sample's new token ids."""

PAUSE_MODES = ("abort", "wait", "keep")
SLEEP_LEVELS = (1, 2)
MEMORY = ("weights", "kv_cache")


@dataclass(frozen=True)
class Sampling:
    """How to sample one prompt. `samples` sequences come of it, each of a request of its own or all of
    `one_request`, which is answered when the last of them is done; with `ignore_eos` each has
    exactly `max_tokens` tokens. `seed` makes a sample repeatable, at some cost in speed.

    What is to `stream` has its tokens as they are made (`on_tokens` of `generate`), and not at its end alone.
    `logprobs` and `prompt_logprobs` ask for log-probabilities, of the answer and of the prompt: of each token
    itself, and of so many of the most probable ones beside it.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    samples: int = 1
    ignore_eos: bool = False
    seed: int | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    one_request: bool = False
    session: str | None = None
    """With sticky routing, requests of one name go to the replica that has had the first of them."""
    stream: bool = False

    def __post_init__(self) -> None:
        for name, least in (("max_tokens", 1), ("samples", 1), ("logprobs", 0), ("prompt_logprobs", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigurationError(f"{name} is {value}; it must be at least {least}")


@dataclass(frozen=True)
class Sequence:
    """One generated sample, with the engine's own times in seconds.

    `first_token_seconds` and `latency_seconds` count from the request's arrival at the engine's
    front to its first and last token; `queue_seconds` is what it waited to be scheduled.
    `done_seconds` counts from the call of `generate` to the last token; `way_in_seconds` is what of it the
    request took to the engine's queue, `to_front_seconds` to the front before that. `way_back_seconds` is
    from the last token to the caller's hands. Samples of one request have the times of the last of them.
    `first_seen_seconds`, of what streams, is from the call of `generate` until the caller had its first
    tokens.
    `text` is None where the model has no tokenizer.
    `logprobs` and `prompt_logprobs`, where they were asked for, have a mapping for each token: its own
    log-probability and those of the most probable ones, by id. The first token of a prompt has none.
    """

    prompt: int
    """Index of the prompt that it answers."""
    token_ids: list[int]
    finish_reason: str
    queue_seconds: float
    first_token_seconds: float
    latency_seconds: float
    done_seconds: float
    way_in_seconds: float
    way_back_seconds: float
    to_front_seconds: float
    text: str | None = None
    logprobs: list[dict[int, float]] | None = None
    prompt_logprobs: list[dict[int, float]] | None = None
    first_seen_seconds: float | None = None


class Rollout:
    """An open rollout: an engine that generates. Made by `open_rollout`."""

    def __init__(self, model: Model, row: Row, engine: Engine):
        self.model = model
        self._row = row
        self._engine = engine
        self._numbers = itertools.count()
        self._lag = LoopLag()

    async def generate(
        self,
        prompts: ListLike[ListLike[int]],
        sampling: Sampling | ListLike[Sampling],
        on_tokens: OnTokens | None = None,
    ) -> list[Sequence]:
        """Generate for all prompts at once and return one Sequence a sample, in prompt order.

        `prompts` are lists of token ids; `sampling` is one for all, or one for each prompt. Of what is to
        stream `on_tokens` is called in the event loop with the index of a prompt, the number of a sample of
        it and the sample's new token ids, as they come; what it raises is raised here at the end.
        Raises ConfigurationError for what the engine cannot take, EngineError where it fails;
        when cancelled, the requests under way are aborted.
        """
        begin = time.monotonic()
        samplings = [sampling] * len(prompts) if isinstance(sampling, Sampling) else list(sampling)
        if len(samplings) != len(prompts):
            raise ConfigurationError(f"{len(prompts)} prompts came with {len(samplings)} samplings")
        requests = [
            (f"r{next(self._numbers)}", index, list(prompt), one, sample)
            for index, (prompt, one) in enumerate(zip(prompts, samplings, strict=True))
            for sample in range(1 if one.one_request else one.samples)
        ]
        for _name, index, prompt, one, _sample in requests:
            self._engine.check_length(index, len(prompt), one.max_tokens)
        for one in samplings:
            self._engine.check_logprobs(one)
        results: list[Result] = [[]] * len(requests)
        first_seen: dict[tuple[int, int], float] = {}
        raised: list[Exception] = []

        def took(place: int, came: Result | Tokens) -> None:
            taken_at = time.monotonic()
            if is_result(came):
                for one, sample in enumerate(came):
                    sample["way_back_seconds"] = taken_at - sample["done_at"]
                    if (place, one) in first_seen:
                        sample["first_seen_seconds"] = first_seen[place, one] - begin
                results[place] = came
                return
            _name, index, _prompt, _sampling, first = requests[place]
            for number, *token_ids in cast(Tokens, came):
                first_seen.setdefault((place, number), taken_at)
                if on_tokens is not None and not raised:
                    try:
                        on_tokens(index, first + number, token_ids)
                    except Exception as error:
                        raised.append(error)

        await self._engine.generate(requests, took)
        if raised:
            raise raised[0]
        # vLLM takes its times of the same clock, which all processes of a host share.
        return [
            Sequence(
                done_seconds=sample.pop("done_at") - begin,
                way_in_seconds=sample.pop("queued_at") - begin,
                to_front_seconds=sample.pop("arrived_at") - begin,
                **sample,
            )
            for samples in results
            for sample in samples
        ]

    async def abort(self, share: float = 1.0) -> int:
        """End a share of the requests under way, evenly spread in the order of their arrival; how many.

        Their sequences come with what they have by then, and "abort" as the reason why they finished. Raises
        ConfigurationError where the path takes a batch at a time.
        """
        return await self._engine.abort(share)

    async def pause(self, mode: str = "keep") -> None:
        """Have the engine compute nothing from now on until `resume`, as for a weight update.

        Requests under way are ended as by `abort` ("abort"), waited for ("wait") or kept ("keep"); new ones
        wait. Returns when the engine is quiet. Raises ConfigurationError where this vLLM or the path cannot.
        """
        if mode not in PAUSE_MODES:
            raise ConfigurationError(f"unknown mode {mode!r}; known: {', '.join(PAUSE_MODES)}")
        await self._engine.pause(mode)

    async def resume(self) -> None:
        """Go on after a pause."""
        await self._engine.resume()

    async def sleep(self, level: int = 1) -> None:
        """Give the GPU's memory back until `wake_up`, as while the trainer needs it.

        Requests under way are ended as by `abort`; new ones wait. The KV cache is lost; weights go to the
        host's memory (level 1) or are lost, too (2). Returns when the memory is free. Raises
        ConfigurationError for an engine that was not opened with `enable_sleep_mode=True`.
        """
        if level not in SLEEP_LEVELS:
            raise ConfigurationError(f"unknown level {level!r}; known: 1, 2")
        await self._engine.sleep(level)

    async def wake_up(self, what: str | None = None) -> None:
        """Take all memory back, or first that of "weights" and then of "kv_cache"; with both, go on.

        After level 2 the weights are not what they were: wake "weights", put others there, wake "kv_cache".
        """
        if what not in (None, *MEMORY):
            raise ConfigurationError(f"unknown memory {what!r}; known: {', '.join(MEMORY)}, or None for both")
        await self._engine.wake_up(what)

    async def loop_lag(self, watched: bool) -> tuple[float, list[float]]:
        """How late the event loops of caller and fronts were since they were watched, mean in seconds; and to
        watch them from now on, or no longer. A timer every 10 ms is what it costs."""
        fronts = await self._engine.front_lag(watched)
        caller = self._lag.end()
        if watched:
            self._lag.begin()
        return caller, fronts

    async def call_workers(self, method: str, *args: Any) -> list[Any]:
        """Call a method of every worker (see vLLM's `worker_extension_cls`); replies in rank order."""
        return await self._engine.call_workers(method, args)

    async def describe(self) -> dict[str, Any]:
        """Facts of the live processes: executor, channel, what has been carried, engine settings."""
        return await self._engine.describe()


@asynccontextmanager
async def open_rollout(
    model: str,
    transport: str = "zmq",
    tensor_parallel_size: int = 1,
    *,
    start_deadline_seconds: float = 600.0,
    step_deadline_seconds: float = 300.0,
    device: str | None = None,
    endpoint: str | None = None,
    nodes: Nodes | None = None,
    entry: str = LOCAL,
    entry_endpoint: str | None = None,
    replicas: int = 1,
    routing: str = ROUND_ROBIN,
    on_death: str = FAIL,
    **engine_arguments: Any,
) -> AsyncIterator[Rollout]:
    """Start an engine for `model` (a preset or a local folder) over a path, for one block.

    `engine_arguments` go to vLLM's EngineArgs; `pipeline_parallel_size` is one of them. `device` is "cuda"
    or "cpu" where one of them is a must. `endpoint` is where a transport listens that can be told, such as
    "tcp://127.0.0.1" for `zmq`. `nodes` has the workers on nodes of the Ray cluster that RAY_ADDRESS names,
    each of them on one GPU (one CPU without): "pack", all on one; "spread", on as many as there are; or a
    list of nodes by Ray's name or id or their address, a worker each, and the first again after the last.
    `entry` is what carries requests to the engine and answers back, and `entry_endpoint` where that listens
    if it can be told. With `replicas` there are as many engines, each with a share of this host; requests
    go to them as `routing` says ("round-robin", "least-in-flight", "sticky" by a Sampling's session, or
    else by prompt). Where one dies, its requests go to the others (`on_death="retry"`), or all fail with
    the cause ("fail"). The caller owns the block; leaving it ends every process that entering it started,
    and so does the caller's death. Rollouts opened at once start one after the other; what a start changes
    in the environment of this process is undone when it is over. Until the block ends, Python looks for no
    garbage in what this process had when the engine was up, as that holds up requests (`gc.freeze`).
    Raises ConfigurationError for a bad request, and EngineError or one of its kinds where the engine does
    not start within `start_deadline_seconds` or a step takes longer than `step_deadline_seconds`; a death
    is reported within 5 s, and an engine that is silent within 5 s more than that deadline.
    """
    if replicas < 1:
        raise ConfigurationError(f"replicas is {replicas}; it must be at least 1")
    found, row, way_in = find_model(model), find_transport(transport), find_entry(entry)
    if nodes is not None:
        if replicas > 1:
            raise ConfigurationError(f"{replicas} replicas share this host; with nodes there is one engine")
        row.check_across(transport)
        check_nodes(nodes)
    if device not in (None, "cpu", "cuda"):
        raise ConfigurationError(f"unknown device {device!r}; known: cpu, cuda")
    if device == "cuda" and not has_gpu():
        raise ConfigurationError(
            "CUDA was asked for, but vLLM finds no GPU here; leave it out to use the CPU"
        )
    reason = row.absent(has_gpu())
    if reason:
        raise ConfigurationError(f"the path {transport!r} cannot be taken here: {reason}")
    reason = way_in.absent()
    if reason:
        raise ConfigurationError(f"the entry {entry!r} cannot be taken here: {reason}")
    if endpoint is not None:
        row.check_endpoint(endpoint)
    if entry_endpoint is not None:
        way_in.check_endpoint(entry_endpoint)
    multiprocessing.resource_tracker.ensure_running()  # it outlives the run, so it must not belong to it
    deadlines = start_deadline_seconds, step_deadline_seconds
    workers = worker_count(tensor_parallel_size, engine_arguments)
    chosen = Routing(routing, replicas)
    check_on_death(on_death)
    own: list[tuple[dict[str, str], dict[str, Any]]] = [({}, {})]
    if replicas > 1:
        cores = 0 if "OMP_NUM_THREADS" in os.environ else len(os.sched_getaffinity(0))
        own = shares(replicas, workers, visible_gpus(), cores, engine_arguments)
    async with AsyncExitStack() as ends:
        placement = None
        if nodes is not None:
            async with lent():
                placement = ends.enter_context(placed(nodes, workers, has_gpu()))
            if row.endpoint_check is not None:
                endpoint = endpoint or placement.endpoint
        engines = []
        for variables, more in own:
            run = Run.create(transport, *deadlines, endpoint, placement)
            spec = EngineSpec(found, row, tensor_parallel_size, engine_arguments | more)
            engines.append(
                await ends.enter_async_context(_opened(run, way_in, spec, entry_endpoint, variables))
            )
        engine = engines[0] if replicas == 1 else Replicas(engines, chosen, on_death)
        yield Rollout(found, row, engine)


@asynccontextmanager
async def _opened(
    run: Run, way_in: Entry, spec: EngineSpec, endpoint: str | None, variables: Mapping[str, str]
) -> AsyncIterator[Engine]:
    """An engine behind an entry, for one block; it starts with `variables` in its environment."""
    shared_memory: set[str] = set()
    async with AsyncExitStack() as ends:
        ends.push_async_callback(asyncio.to_thread, run.end, _END_SECONDS, shared_memory)
        async with lent():
            os.environ.update({**run.variables(), **variables})
            for surroundings in (spec.row, way_in):
                os.environ.update(ends.enter_context(surroundings.provide(run.folder)))
            engine = await way_in.open(spec, run, endpoint)
        try:
            yield engine
        finally:
            # Ray kills a worker of vLLM's together with the process that would unlink what it used.
            shared_memory |= run.shared_memory()
            await asyncio.shield(engine.close())
