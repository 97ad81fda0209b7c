"""What the name of a path promises of the live processes, and whether a record keeps it. Pure.

A run that is not what its label says is a failed one, and no row of a table.
"""

from dataclasses import dataclass

from ..schema.record import LOCAL, MEASURED, Record, WayIn, is_system


@dataclass(frozen=True)
class Label:
    """What a path's name promises of the live processes.

    Modules are held against prefixes, so that files may move inside a package at any commit.
    """

    executor: str
    """"PACKAGE:CLASS" of vLLM's executor: a class of that name in that package."""
    carrier: str
    """Module or package on the worker's stack under which its calls arrive."""
    ray_actor: bool
    channel: str | None = None
    """Beginning of the channel's description, where the executor is ours."""
    baseline: bool = False
    """It blocks: its engine must have async scheduling off, where the others have what vLLM chooses."""

    def is_executor(self, name: str) -> bool:
        """Whether the dotted name of a class is that of the path's executor."""
        package, _, kind = self.executor.partition(":")
        module, _, found = name.rpartition(".")
        return found == kind and _is_within(module, package)


def _is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


_VLLM = "vllm.v1.executor"
_ADAPTER, _BLOCKING = "rollout_perf:TransportExecutor", "rollout_perf:BlockingExecutor"

LABELS: dict[str, Label] = {
    "sync": Label(f"{_VLLM}:UniProcExecutor", f"{_VLLM}.uniproc_executor", False),
    "vllm-mp": Label(f"{_VLLM}:MultiprocExecutor", f"{_VLLM}.multiproc_executor", False),
    "vllm-ray": Label(f"{_VLLM}:RayExecutorV2", f"{_VLLM}.ray_executor_v2", True),
    "zmq": Label(_ADAPTER, "rollout_perf.transports.zeromq", False, "zmq"),
    "ray": Label(_ADAPTER, "rollout_perf.transports.ray_actor", True, "ray actor"),
    "ray-graph": Label(_ADAPTER, "rollout_perf.transports.ray_graph", True, "ray compiled graph"),
    "verl-zmq": Label(_BLOCKING, "rollout_perf.transports.verl_zmq", False, "zmq REQ/REP", baseline=True),
    "verl-ray": Label(
        _BLOCKING, "rollout_perf.transports.verl_ray", True, "ray actor call to every", baseline=True
    ),
}
"""Every path that the harness measures, in the order in which they are shown."""

ENTRIES: dict[str | None, str | None] = {
    None: None,
    "zmq": "zmq ROUTER/DEALER",
    "zmq-plain": "zmq ROUTER/DEALER",
    "http": "http",
    "http-router": "vllm-router before http",
    "ray": "ray actor call a sample",
    "ray-group": "ray actor call a group",
    "ray-batch": "ray actor call a batch",
}
"""Beginning of the description of what carries requests, by the entry; None is the local one."""


def check_label(record: Record) -> Record:
    """Fail a measured record whose live processes are not what its path's name promises."""
    if record.status != MEASURED or is_system(record.path):  # whose adapter says what it is
        return record
    label, observed = LABELS[record.path], record.observed
    wrong = []
    if not label.is_executor(observed["executor"]):
        wrong.append(f"executor is {observed['executor']}, not {label.executor}")
    for rank, worker in enumerate(observed["workers"]):
        if not any(_is_within(module, label.carrier) for module in worker["carriers"]):
            wrong.append(f"worker {rank} is called by {' < '.join(worker['carriers'])}, not {label.carrier}")
        if worker["ray_actor"] != label.ray_actor:
            wrong.append(f"worker {rank} is {'' if worker['ray_actor'] else 'not '}a Ray actor")
        if label.baseline and worker["async_scheduling"]:
            wrong.append(f"worker {rank} has async scheduling")
    if label.channel is not None and not str(observed.get("channel", "")).startswith(label.channel):
        wrong.append(f"channel is {observed.get('channel')!r}, not {label.channel}")
    several = observed["tokens_generated"] > record.workload["batch"]  # steps, so one could be ahead
    ahead = any(worker["async_scheduling"] for worker in observed["workers"])
    if ahead and several and observed.get("steps_ahead") == 0:
        wrong.append("async scheduling is on, and no step was sent before the answer to the last was there")
    way_in, there = WayIn.of(record.entry), len(observed.get("replicas", [None]))
    if there != way_in.replicas:
        wrong.append(f"there are {there} engines, not {way_in.replicas}")
    carries = ENTRIES[None if way_in.entry == LOCAL else way_in.entry]
    found = observed.get("entry_channel")
    if found != carries and not (carries and str(found).startswith(carries)):
        wrong.append(f"requests are carried by {found!r}, not {carries}")
    return record.failed(f"not what its label says: {'; '.join(wrong)}") if wrong else record
