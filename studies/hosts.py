"""What it costs that the workers are on another host: the pipe alone, and an engine step, by the network's
delay.

    python studies/hosts.py pipe zmq,ray   there and back, beside bare ZeroMQ over tcp and bare actor calls
    python studies/hosts.py step zmq,ray   nano, TP=2, a worker on each host, beside vllm-mp
    python studies/hosts.py step zmq,ray,ray-graph --preset qwen2.5-0.5b --batches 1,64 --delays 0 --minutes 4

Two hosts are namespaces of this machine that a process joins, which holds each packet for as long as it
is told (tests/hosts/hosts.py; needs root). Without a delay they are joined by the kernel's own pair of
interfaces, and where namespaces cannot be had there are two raylets on one host (ALONE=1 does so anyway). Of
two GPUs each raylet has one. It is no real network. All contestants are up at once and take turns, the
order reversed every other round; a line of JSON says what came out, and a table at the end. Readers of a
compiled graph never sleep: on few cores ray-graph is better without the others.
"""

import argparse
import asyncio
import contextlib
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MICROSECONDS = (0, 50, 500)
"""How long each packet is held."""

REFERENCE = "vllm-mp"
TOKENS = 32
CALLS = 150
SIZES = (64, 64 * 1024)
HELD = "delay "
PAUSE_SECONDS = 1.2
"""Before each turn of engine steps: whoever reads vLLM's queues spins for a second after the last call, and
would take a core from the next in turn."""


# --- outside --------------------------------------------------------------------------------------


class Raylet:
    """A raylet on this host, one of two, each with a GPU of its own; as `hosts.Host` is used."""

    def __init__(self, name: str, port: int, environment: dict[str, str], head: bool):
        self.environment = environment
        joined = (
            ["--head", f"--port={port}", "--include-dashboard=false"]
            if head
            else [f"--address=127.0.0.1:{port}"]
        )
        self._process = subprocess.Popen(
            [
                *[sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *joined],
                *[f"--node-name={name}", "--node-ip-address=127.0.0.1", "--num-cpus=16"],
                *["--disable-usage-stats", f"--object-store-memory={80 << 20}"],
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
        )

    def command(self, *words: str) -> list[str]:
        return list(words)

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(30)


@contextlib.contextmanager
def cluster(delayed: bool) -> Iterator[tuple[str, Any, Any, dict[str, str]]]:
    """A cluster of two raylets: what it is, where the driver runs, the network if it can be delayed, and the
    driver's variables."""
    sys.path.insert(0, str(ROOT / "tests" / "hosts"))
    from hosts import RAY, two_hosts, unavailable

    found = sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(found)).split(",")
    own = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in visible[:2]] if len(visible) > 1 else [{}, {}]
    why_not = "as asked" if "ALONE" in os.environ else unavailable(delayed)
    if why_not is None:
        with two_hosts(delayed) as (left, right, network):
            left.start_ray(cpus=16, **own[0])
            right.start_ray(left, cpus=16, **own[1])
            what = "namespaces of one machine, joined by " + ("a process" if delayed else "a pair of veth")
            yield what, left, network, {"RAY_ADDRESS": f"{left.address}:6379"} | own[0]
        return
    if delayed:
        sys.exit(f"no delay without namespaces: {why_not}; give --delays 0")
    with contextlib.ExitStack() as ends:
        for name, variables in zip(("left", "right"), own, strict=True):
            raylet = Raylet(name, 6399, {**os.environ, **RAY, **variables}, name == "left")
            ends.callback(raylet.end)
            if name == "left":
                left, first = raylet, variables
            time.sleep(15)
        yield f"two raylets on one host ({why_not})", left, None, {"RAY_ADDRESS": "127.0.0.1:6399"} | first


def main(arguments: argparse.Namespace) -> None:
    """Have two hosts, and run the other part of this file on the left one."""
    delayed = any(arguments.delays)
    rows = []
    with cluster(delayed) as (what, left, network, variables), tempfile.TemporaryDirectory(dir=ROOT) as logs:
        said = (
            {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_FILE": f"{logs}/%h.%p"}
            if "CUDA_VISIBLE_DEVICES" in variables
            else {}
        )
        modules = {"PYTHONPATH": f"{ROOT}:{ROOT}/tests/support:{os.environ.get('PYTHONPATH', '')}"}
        with subprocess.Popen(
            left.command(sys.executable, __file__, *sys.argv[1:], "--inside"),
            env=left.environment | variables | modules | said,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as inside:
            assert inside.stdin is not None
            assert inside.stdout is not None
            timer = threading.Timer(60 * arguments.minutes + 30, inside.kill)
            timer.start()
            for line in inside.stdout:
                if line.startswith(HELD):
                    if network is not None:
                        network.set(float(line.removeprefix(HELD)))
                    inside.stdin.write("\n")
                    inside.stdin.flush()
                elif line.startswith("{"):
                    print(line, end="", flush=True)
                    rows.append(json.loads(line))
            timer.cancel()
        ways = Counter(
            way
            for log in Path(logs).iterdir()
            for way in re.findall(r" via (\S+)", log.read_text(errors="replace"))
        )
    print(f"\n{what}; no real network")
    if said:
        print(
            "NCCL sends via:",
            ", ".join(f"{way} ({count} channels)" for way, count in ways.items()) or "not said",
        )
    for row in rows:
        print(table_row(row))


def table_row(row: dict[str, Any]) -> str:
    """A line of `say`, for people."""
    if "failed" in row:
        return f"| {row['path']} | {row['failed']} |"
    cells = [f"{row['what']}, {row['delay_us']} us"]
    for name, its in row.items():
        if isinstance(its, dict):
            [ratios] = [more for key, more in its.items() if key != "us"] or [[]]
            cells.append(
                "; ".join([f"{name} {its['us']:g}", *([", ".join(map(str, ratios))] if ratios else [])])
            )
    return f"| {' | '.join(cells)} |"


# --- on the left host -----------------------------------------------------------------------------


def hold(seconds: float) -> None:
    """Have the network hold each packet so long from now on."""
    print(f"{HELD}{seconds}", flush=True)
    sys.stdin.readline()


def in_turn(
    contestants: dict[str, Callable[[], float]], rounds: int, end: float = math.inf
) -> dict[str, list[float]]:
    """What each has taken, by round, until `end`; the first round is not kept."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        if number > 2 and time.monotonic() > end:
            break
        for name in list(contestants)[:: 1 if number % 2 else -1]:
            seconds = contestants[name]()
            if number:
                taken[name].append(seconds)
    return taken


def say(delay: float, what: str, taken: dict[str, list[float]], references: dict[str, str]) -> None:
    """A line of JSON: each contestant's median, and that of its ratios to its reference, with quartiles."""
    row: dict[str, Any] = {"delay_us": round(delay * 1e6), "what": what}
    for name, seconds in taken.items():
        row[name] = {"us": round(1e6 * statistics.median(seconds), 1)}
        if (reference := references.get(name)) in taken:
            ratios = [mine / its for mine, its in zip(seconds, taken[reference], strict=True)]
            row[name][f"/ {reference}"] = [round(one, 3) for one in statistics.quantiles(ratios, n=4)]
    print(json.dumps(row), flush=True)


def step(asked: argparse.Namespace) -> None:
    """Engine steps of a model over each path."""
    from rollout_perf import RolloutError, Sampling, open_rollout

    end = time.monotonic() + 60 * asked.minutes
    arguments: dict[str, Any] = {"max_model_len": 256, "max_num_seqs": max(asked.batches), "seed": 0}
    if "CUDA_VISIBLE_DEVICES" in os.environ:  # graphs of a few sizes, and nothing compiled: it starts in time
        graphs = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": asked.batches}
        arguments |= {"kv_cache_memory_bytes": 2 << 30, "compilation_config": graphs}
    else:
        # Of a pipeline's stages vLLM asks on the CPU that they be compiled; torch is told to compile nothing.
        os.environ["TORCHDYNAMO_DISABLE"] = "1"
        untouched = {"mode": 2, "backend": "eager"}
        arguments |= {"kv_cache_memory_bytes": 64 << 20, "compilation_config": untouched}
    sampling = Sampling(max_tokens=TOKENS, ignore_eos=True, temperature=0.0)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            rollouts = {}
            for path in [REFERENCE, *asked.paths]:
                left = end - time.monotonic() - 10
                opened = open_rollout(
                    asked.preset,
                    path,
                    asked.tp,
                    nodes="spread",
                    pipeline_parallel_size=asked.pp,
                    start_deadline_seconds=max(left, 1),
                    **arguments,
                )
                begin = time.monotonic()
                try:
                    rollouts[path] = await stack.enter_async_context(opened)
                except RolloutError as error:
                    print(json.dumps({"path": path, "failed": str(error)}), flush=True)
                print(f"{path}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)

            def timed(path: str, batch: int) -> Callable[[], float]:
                prompts = [[number + 5] * 16 for number in range(batch)]

                def rollout() -> float:
                    time.sleep(PAUSE_SECONDS)
                    begin = time.perf_counter()
                    generating = rollouts[path].generate(prompts, sampling)
                    asyncio.run_coroutine_threadsafe(generating, loop).result()
                    return (time.perf_counter() - begin) / TOKENS

                return rollout

            def rounds() -> None:
                for delay in asked.delays:
                    hold(delay)
                    for batch in asked.batches:
                        taken = in_turn({path: timed(path, batch) for path in rollouts}, asked.rounds, end)
                        say(delay, f"step, batch {batch}", taken, dict.fromkeys(asked.paths, REFERENCE))

            await asyncio.to_thread(rounds)

    asyncio.run(run())


def echo_server(curve: tuple[bytes, bytes] | None) -> int:
    """A bare ZeroMQ echo in a thread of the process that calls; its port."""
    import threading

    import zmq

    socket: Any = zmq.Context.instance().socket(zmq.PAIR)
    if curve is not None:
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = curve
    port: int = socket.bind_to_random_port("tcp://10.77.0.2")

    def serve() -> None:
        while True:
            socket.send(socket.recv())

    threading.Thread(target=serve, daemon=True).start()
    return port


class Bare:
    """A Ray actor that gives back what it gets, and has ZeroMQ sockets that do."""

    def echo(self, block: bytes) -> bytes:
        return block

    def serve(self, curve: tuple[bytes, bytes] | None) -> int:
        return echo_server(curve)


@contextlib.contextmanager
def ours(path: str) -> Iterator[Callable[[bytes], Any]]:
    """A call of a transport of ours, to one worker on the right host."""
    from rollout_perf.transports import TRANSPORTS
    from rollout_perf.transports.base import HostSpec
    from rollout_perf.transports.placement import placed

    row = TRANSPORTS[path]
    with placed(["right"], 1, False) as placement, tempfile.TemporaryDirectory(dir="/tmp") as folder:
        transport = row.make(1, Path(folder), placement.endpoint if row.endpoint_check else None)
        try:
            transport.start(HostSpec("fake_host:Echo", b"", placement=placement), 60.0)
            yield lambda block: transport.send([block], [0], 60.0).result()
        finally:
            transport.close()


def pipe(asked: argparse.Namespace) -> None:
    """Round trips of each transport of ours, beside what it is made of."""
    import ray
    import zmq
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from rollout_perf.transports.ray_workers import join_cluster

    join_cluster()
    [right] = [node["NodeID"] for node in ray.nodes() if node["NodeName"] == "right"]
    strategy = NodeAffinitySchedulingStrategy(right, soft=False)
    actor: Any = ray.remote(num_cpus=0, scheduling_strategy=strategy)(Bare).remote()
    keys = zmq.curve_keypair()

    def bare_zmq(curve: bool) -> Callable[[bytes], Any]:
        socket: Any = zmq.Context.instance().socket(zmq.PAIR)
        if curve:
            socket.curve_serverkey = keys[0]
            socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.connect(f"tcp://10.77.0.2:{ray.get(actor.serve.remote(keys if curve else None))}")

        def call(block: bytes) -> None:
            socket.send(block)
            socket.recv()

        return call

    with contextlib.ExitStack() as stack:
        calls: dict[str, Callable[[bytes], Any]] = {
            "bare zmq": bare_zmq(False),
            "bare zmq, CURVE": bare_zmq(True),
            "bare actor call": lambda block: ray.get(actor.echo.remote(block)),
            **{path: stack.enter_context(ours(path)) for path in asked.paths},
        }
        references = {
            "bare zmq, CURVE": "bare zmq",
            "zmq": "bare zmq, CURVE",
            "ray": "bare actor call",
            "ray-graph": "bare actor call",
        }

        def timed(call: Callable[[bytes], Any], block: bytes) -> Callable[[], float]:
            def some() -> float:
                taken = []
                for _ in range(CALLS):
                    begin = time.perf_counter()
                    call(block)
                    taken.append(time.perf_counter() - begin)
                return statistics.median(taken)

            return some

        for delay in asked.delays:
            hold(delay)
            for size in SIZES:
                taken = in_turn(
                    {name: timed(call, bytes(size)) for name, call in calls.items()}, asked.rounds
                )
                say(delay, f"round trip of {size} bytes", taken, references)


def numbers(text: str) -> list[int]:
    """What a list on the command line holds."""
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("pipe", "step"))
    parser.add_argument("paths", type=lambda text: text.split(","))
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--tp", type=int, default=2)
    parser.add_argument("--pp", type=int, default=1, help="stages of a pipeline, of --tp workers each")
    parser.add_argument("--batches", type=numbers, default=[8])
    parser.add_argument("--delays", type=numbers, default=MICROSECONDS, help="us that each packet is held")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=10.0, help="nothing is begun after that")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        asked.delays = [microseconds / 1e6 for microseconds in asked.delays]
        {"pipe": pipe, "step": step}[asked.what](asked)
    else:
        main(asked)
