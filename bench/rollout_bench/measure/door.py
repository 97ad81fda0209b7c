"""The door of the system under test: everything that the harness calls of `rollout_perf`, as types.

    door = open_door()
    async with door.open_rollout("nano", "zmq", 1, ...) as rollout:

One harness measures every commit of the history, so this is a contract: what stands here must stay as it is
in `rollout_perf`, and what only newer commits have is marked. tests/measure/test_door.py holds it against
this commit, the oldest one that can be measured, and the fake one of the tests. The workers' side of it is
`probe`, which vLLM mixes into its own worker.
"""

import importlib
import inspect
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, Protocol, TypedDict, cast

PACKAGE = "rollout_perf"
_TRANSPORT_BASE, _ENTRIES = f"{PACKAGE}.transports.base", f"{PACKAGE}.entries"


class NoDoor(Exception):
    """The system under test has not what the harness calls; the message says in a line what is missing."""


class Sample(Protocol):
    """One generated sequence, with the engine's times in seconds since the request's arrival."""

    @property
    def token_ids(self) -> Sequence[int]: ...
    @property
    def first_token_seconds(self) -> float: ...
    @property
    def latency_seconds(self) -> float: ...


class SampleWithLogprobs(Sample, Protocol):
    """A sample of commits whose Sampling has `logprobs`: where they were asked for, some for each token."""

    @property
    def logprobs(self) -> Sequence[Mapping[int, float]] | None: ...
    @property
    def prompt_logprobs(self) -> Sequence[Mapping[int, float]] | None: ...


class TimedSample(Sample, Protocol):
    """A sample of commits since 1ba41a0."""

    @property
    def done_seconds(self) -> float:
        """From the call of `generate` to its last token."""


class Counters(TypedDict):
    """What a transport has carried since it started, and the seconds that its driver spent on that."""

    sent_bytes: int
    received_bytes: int
    calls: int
    encode_seconds: NotRequired[float]
    """This and the others: commits since 90b7201."""
    send_seconds: NotRequired[float]
    wait_seconds: NotRequired[float]
    receive_seconds: NotRequired[float]
    decode_seconds: NotRequired[float]
    steps_ahead: NotRequired[int]
    """Engine steps that were sent before the answer to the last was there."""


class Facts(TypedDict):
    """What the live engine is, and what its path has carried."""

    executor: str
    """Dotted name of the class of vLLM's executor."""
    vllm: str
    engine: dict[str, Any]
    """The engine's resolved settings, see ENGINE_SETTINGS."""
    channel: NotRequired[str]
    """Where the executor is the package's own, as are the counters."""
    counters: NotRequired[Counters]
    entry_channel: NotRequired[str]
    """What carries requests, and the process that they reach; where the entry is not the local one."""
    front_pid: NotRequired[int]
    router_pid: NotRequired[int]
    entry_carried: NotRequired[dict[str, int]]
    """Bytes of requests, and of what came of them, both without what frames them."""
    replicas: NotRequired[list[dict[str, Any]]]
    """Of each of several engines, what it has had, and its `front_pid`; the other facts are of the first."""


ENGINE_SETTINGS = (
    "block_size",
    "kv_cache_blocks",
    "max_num_batched_tokens",
    "max_num_seqs",
    "prefix_caching",
)
"""The settings that the harness reads by name; all of them must be equal for paths to be compared."""


class Rollout(Protocol):
    """An engine that is up."""

    async def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sequence[Any], /
    ) -> Sequence[Sample]:
        """One sample for each prompt, all at once, in their order."""

    async def call_workers(self, method: str, /, *arguments: Any) -> list[Any]:
        """Call a method of `probe` in every worker; replies in the order of ranks, each a text of JSON."""

    async def describe(self) -> dict[str, Any]:
        """Facts; `facts` types them."""


class Streaming(Rollout, Protocol):
    """A rollout of commits whose Sampling has `stream`; their samples have `first_seen_seconds`."""

    async def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sequence[Any],
        on_tokens: Callable[[int, int, list[int]], None] | None = None,
        /,
    ) -> Sequence[Sample]:
        """`on_tokens` has the index of a prompt, the number of a sample of it and new token ids."""


class Interruptible(Rollout, Protocol):
    """A rollout of commits whose Rollout has `pause`."""

    async def abort(self, share: float, /) -> int:
        """End a share of the requests under way; their samples come with what they have."""

    async def pause(self, mode: str, /) -> None:
        """Return when the engine is quiet; it computes nothing until `resume`."""

    async def resume(self) -> None: ...


class Sleeps(Interruptible, Protocol):
    """A rollout of commits whose Rollout has `sleep`."""

    async def sleep(self, level: int, /) -> None:
        """Return when memory is given back; requests under way end as by `abort`."""

    async def wake_up(self, what: str | None, /) -> None:
        """Take back that of "weights" or "kv_cache", or all; having both, it goes on."""


class Reply(Protocol):
    """The replies of workers to one call."""

    def result(self) -> Any:
        """Wait for them: a list with the message of each worker; a message is a list of buffers."""


class Transport(Protocol):
    """What carries calls to workers; `pipe` measures it without an engine."""

    def start(self, spec: Any, deadline_seconds: float, /) -> None: ...
    def send(self, message: list[bytes], reply_ranks: Sequence[int], deadline_seconds: float, /) -> Reply: ...
    def describe(self) -> dict[str, Any]:
        """Facts of the channel, its name as "channel"."""

    def close(self) -> None: ...


class Row(Protocol):
    """A row of the table of paths."""

    @property
    def transport(self) -> str | None:
        """What carries a step; None for executors of vLLM's own."""

    @property
    def in_process(self) -> bool:
        """Whether the engine runs in the caller's process, and takes one batch after the other."""

    def absent(self, has_gpu: bool, /) -> str | None:
        """Why the path cannot be taken on this machine, if so."""

    def load(self) -> Callable[[int, Path], Transport]:
        """The class of the transport; it is made of a number of workers and a folder for its files."""

    def surround(self, folder: Path, /) -> AbstractContextManager[Any]:
        """What must hold while the path is in use: a cluster, for Ray."""


class Entry(Protocol):
    """A row of the table of entries."""

    def absent(self) -> str | None:
        """Why the entry cannot be taken on this machine, if so."""


class MakesSampling(Protocol):
    """The class Sampling. What has a default only newer commits take; `lacks` says which."""

    def __call__(
        self,
        *,
        max_tokens: int,
        ignore_eos: bool,
        logprobs: int | None = None,
        prompt_logprobs: int | None = None,
        samples: int = 1,
        one_request: bool = False,
        stream: bool = False,
    ) -> Any: ...


class Door(Protocol):
    """The module `rollout_perf`."""

    @property
    def PRESETS(self) -> Container[str]: ...  # noqa: N802 - names of the module
    @property
    def TRANSPORTS(self) -> Mapping[str, Row]: ...  # noqa: N802
    @property
    def ConfigurationError(self) -> type[Exception]:  # noqa: N802
        """What a request is refused with."""

    @property
    def Sampling(self) -> MakesSampling: ...  # noqa: N802
    @property
    def __file__(self) -> str | None: ...

    def open_rollout(
        self,
        model: str,
        transport: str,
        tensor_parallel_size: int,
        *,
        start_deadline_seconds: float,
        step_deadline_seconds: float,
        **engine_arguments: Any,
    ) -> AbstractAsyncContextManager[Rollout]:
        """Start an engine of a preset or a local folder over a path, for one block."""


NAMES = ("PRESETS", "TRANSPORTS", "ConfigurationError", "Sampling", "open_rollout")
"""What the module must have."""

if TYPE_CHECKING:
    import rollout_perf

    _this_commit: Door = rollout_perf  # mypy holds this commit against the contract


def open_door() -> Door:
    """Import the system under test. Raises NoDoor where it is not there or lacks what the harness calls."""
    try:
        module = importlib.import_module(PACKAGE)
    except ImportError as error:
        raise NoDoor(f"this commit has no API to measure: {error}") from None
    missing = [name for name in NAMES if not hasattr(module, name)]
    if missing:
        raise NoDoor(f"this commit has no API to measure: {PACKAGE} has no {', '.join(missing)}")
    return cast(Door, module)


def takes_replicas(door: Door) -> bool:
    """Whether the rollouts of this commit may have several engines."""
    return "replicas" in inspect.signature(door.open_rollout).parameters


async def loop_lags(rollout: Rollout, watched: bool) -> tuple[float, list[float]] | None:
    """How late the event loops of caller and fronts were, mean; None at commits that do not say so."""
    watching = getattr(rollout, "loop_lag", None)
    return None if watching is None else cast(tuple[float, list[float]], await watching(watched))


def interrupts(door: Door) -> bool:
    """Whether the rollouts of this commit can be interrupted."""
    return hasattr(getattr(door, "Rollout", None), "pause")


def sleeps(door: Door) -> bool:
    """Whether the rollouts of this commit can sleep."""
    return hasattr(getattr(door, "Rollout", None), "sleep")


def lacks(door: Door, asked: Iterable[str]) -> str | None:
    """Which parameters this commit's Sampling does not take, in a line; None where it takes them all."""
    missing = [name for name in asked if name not in inspect.signature(door.Sampling).parameters]
    return f"this commit cannot be asked for {', '.join(missing)}" if missing else None


def model_arguments(preset: str) -> tuple[str, dict[str, Any]]:
    """The folder of a preset, or of a model, and vLLM's arguments where it has no weights or no tokenizer.

    Raises NoDoor where this commit does not have it.
    """
    try:
        models = importlib.import_module(f"{PACKAGE}.models")
        arguments = dict(models.find_model(preset).engine_arguments())
    except (ImportError, ValueError) as error:
        raise NoDoor(f"this commit has no preset {preset!r}: {error}") from None
    return arguments.pop("model"), arguments


def host_spec(factory: str, payload: bytes) -> Any:
    """What a transport starts in each worker: `factory`, a "module:name", called with (rank, payload).

    Raises NoDoor where this commit has no such thing.
    """
    try:
        return importlib.import_module(_TRANSPORT_BASE).HostSpec(factory, payload)
    except (ImportError, AttributeError) as error:
        raise NoDoor(f"this commit has no API to measure a pipe: {error}") from None


def door_entries(door: Door) -> Mapping[str, Entry]:
    """The entries by name; none at commits that know the local one alone."""
    return cast(Mapping[str, Entry], getattr(door, "ENTRIES", {}))


def open_entry(name: str, factory: str) -> AbstractAsyncContextManager[Any]:
    """An entry with an engine behind it that `factory`, a "module:name", starts; without vLLM.

    Raises NoDoor where this commit has no such thing, or not that entry.
    """
    try:
        entries = importlib.import_module(_ENTRIES)
        opens = entries.open_entry
    except (ImportError, AttributeError) as error:
        raise NoDoor(f"this commit has no API to measure an entry alone: {error}") from None
    if name not in entries.ENTRIES:
        raise NoDoor(f"this commit has no entry {name!r}; it has {', '.join(entries.ENTRIES)}")
    if reason := entries.ENTRIES[name].absent():
        raise NoDoor(reason)
    return cast(AbstractAsyncContextManager[Any], opens(name, factory))


async def facts(rollout: Rollout) -> Facts:
    """What the live engine is, and what its path has carried."""
    return cast(Facts, await rollout.describe())


def ways_seconds(sample: Sample) -> tuple[float, ...] | None:
    """What a sample took to the engine's queue and back from it, and where the commit says so to the front,
    and within the engine; None at commits that say nothing of the kind."""
    if not hasattr(sample, "way_in_seconds"):
        return None
    one = cast(Any, sample)
    ways = (one.way_in_seconds, one.way_back_seconds)
    if not hasattr(sample, "to_front_seconds"):
        return ways
    return (*ways, one.to_front_seconds, one.done_seconds - one.way_in_seconds)


def first_seen_seconds(sample: Sample) -> float | None:
    """From the call of `generate` to the first tokens in the caller's hands; None of what does not stream."""
    return cast(float | None, getattr(sample, "first_seen_seconds", None))


def is_aborted(sample: Sample) -> bool:
    """Whether an interruption has ended a sample; of commits whose rollouts can be interrupted."""
    return bool(cast(Any, sample).finish_reason == "abort")


def done_seconds(sample: Sample) -> float | None:
    """When a sample was done; None at commits that do not say so."""
    return cast(TimedSample, sample).done_seconds if hasattr(sample, "done_seconds") else None
