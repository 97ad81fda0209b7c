"""What it costs that the workers are on another host: the pipe alone, and an engine step, by the network's
delay.

    python studies/hosts.py pipe zmq,ray   there and back, beside bare ZeroMQ over tcp and bare actor calls
    python studies/hosts.py step zmq,ray   nano, TP=2, a worker on each host, beside vllm-mp

Two hosts are namespaces of this machine that a process joins, which holds each packet for as long as it is
told (tests/hosts/hosts.py; needs root). It is no real network. All contestants are up at once and take turns,
the order reversed every other round; a line of JSON says what came out. Readers of a compiled graph never
sleep: on few cores ray-graph is better without the others.
"""

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DELAYS = (0.0, 0.00005, 0.0005)
"""Seconds that each packet is held."""

REFERENCE = "vllm-mp"
ROUNDS, BATCH, TOKENS = 10, 8, 32
CALLS = 150
SIZES = (64, 64 * 1024)
HELD = "delay "


# --- outside --------------------------------------------------------------------------------------


def main(what: str, paths: str) -> None:
    """Have two hosts, and run the other part of this file on the left one."""
    sys.path.insert(0, str(ROOT / "tests" / "hosts"))
    from hosts import two_hosts

    with two_hosts() as (left, right, network):
        assert network is not None
        left.start_ray(cpus=16)
        right.start_ray(left, cpus=16)
        words = [sys.executable, __file__, what, paths, "inside"]
        variables = {"RAY_ADDRESS": f"{left.address}:6379", "PYTHONPATH": f"{ROOT}:{ROOT}/tests/support"}
        with subprocess.Popen(
            left.command(*words),
            env=left.environment | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as inside:
            assert inside.stdin is not None
            assert inside.stdout is not None
            for line in inside.stdout:
                if line.startswith(HELD):
                    network.set(float(line.removeprefix(HELD)))
                    inside.stdin.write("\n")
                    inside.stdin.flush()
                elif line.startswith("{"):
                    print(line, end="", flush=True)


# --- on the left host -----------------------------------------------------------------------------


def hold(seconds: float) -> None:
    """Have the network hold each packet so long from now on."""
    print(f"{HELD}{seconds}", flush=True)
    sys.stdin.readline()


def in_turn(contestants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each has taken, by round; the first round is not kept."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
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
        if (reference := references.get(name)) is not None:
            ratios = [mine / its for mine, its in zip(seconds, taken[reference], strict=True)]
            row[name][f"/ {reference}"] = [round(one, 3) for one in statistics.quantiles(ratios, n=4)]
    print(json.dumps(row), flush=True)


def step(paths: list[str]) -> None:
    """Engine steps of nano over each path."""
    from rollout_perf import Sampling, open_rollout

    arguments: dict[str, Any] = {
        "kv_cache_memory_bytes": 64 << 20,
        "max_model_len": 256,
        "max_num_seqs": BATCH,
        "enforce_eager": True,
        "seed": 0,
    }
    prompts = [[number + 5] * 16 for number in range(BATCH)]
    sampling = Sampling(max_tokens=TOKENS, ignore_eos=True, temperature=0.0)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            rollouts = {}
            for path in [REFERENCE, *paths]:
                opened = open_rollout("nano", path, 2, nodes="spread", **arguments)
                rollouts[path] = await stack.enter_async_context(opened)
                print(f"{path} is up", file=sys.stderr, flush=True)

            def timed(path: str) -> Callable[[], float]:
                def rollout() -> float:
                    begin = time.perf_counter()
                    generating = rollouts[path].generate(prompts, sampling)
                    asyncio.run_coroutine_threadsafe(generating, loop).result()
                    return (time.perf_counter() - begin) / TOKENS

                return rollout

            def rounds() -> None:
                for delay in DELAYS:
                    hold(delay)
                    taken = in_turn({path: timed(path) for path in rollouts}, ROUNDS)
                    say(delay, f"step, batch {BATCH}", taken, dict.fromkeys(paths, REFERENCE))

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


def pipe(paths: list[str]) -> None:
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
            **{path: stack.enter_context(ours(path)) for path in paths},
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

        for delay in DELAYS:
            hold(delay)
            for size in SIZES:
                taken = in_turn({name: timed(call, bytes(size)) for name, call in calls.items()}, ROUNDS)
                say(delay, f"round trip of {size} bytes", taken, references)


if __name__ == "__main__":
    what, paths, *inside = sys.argv[1:]
    if inside:
        {"pipe": pipe, "step": step}[what](paths.split(","))
    else:
        main(what, paths)
