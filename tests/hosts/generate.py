"""What a test has run on a host: an engine of nano over each path, its workers on nodes; a line of JSON each.
That of the last one goes on until it fails, and says how.

python generate.py PATH,PATH NODE,NODE
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import psutil

from rollout_perf import RolloutError, Sampling, open_rollout

BATCH, TOKENS = 4, 16
STAGED = "zmq"
"""The path that has two stages of a pipeline, each on both hosts; the others have one."""


def sent() -> int:
    """Bytes that this host has sent to the other."""
    [line] = [
        line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("eth0:")
    ]
    return int(line.partition(":")[2].split()[8])


def listening() -> list[str]:
    """Addresses at which processes of vLLM's listen here; Ray's own sockets are of IPv6."""
    found = [one for one in psutil.net_connections("tcp4") if one.status == psutil.CONN_LISTEN and one.pid]
    return sorted({one.laddr.ip for one in found if psutil.Process(one.pid).name().startswith("VLLM")})


async def generate(path: str, nodes: list[str], until_it_fails: bool) -> None:
    sampling = Sampling(max_tokens=TOKENS, temperature=0.0, ignore_eos=True)
    stages = 2 if path == STAGED else 1
    arguments = {
        "kv_cache_memory_bytes": 64 << 20,
        "max_model_len": 256,
        "pipeline_parallel_size": stages,
        # vLLM on the CPU has stages only where it compiles: so it does, and torch, told so, does nothing.
        "compilation_config": {"mode": 2, "backend": "eager"},
        "seed": 0,
        "dtype": "float32",
    }
    async with open_rollout(
        "nano",
        path,
        2,
        nodes=nodes[: 2 * stages],
        start_deadline_seconds=240.0,
        step_deadline_seconds=60.0,
        **arguments,
    ) as rollout:
        prompts = [[7, 8, 9, 10 + number] for number in range(BATCH)]
        await rollout.generate(prompts, sampling)
        begin = sent()
        out = await rollout.generate(prompts, sampling)
        facts = await rollout.describe()
        say(path, [one.token_ids for one in out], sent() - begin, listening(), facts)
        try:
            while until_it_fails:
                await rollout.generate(prompts, sampling)
        except RolloutError as error:
            say("failure", type(error).__name__, str(error))


def say(*what: Any) -> None:
    print(json.dumps(what), flush=True)


async def main(paths: str, nodes: str) -> None:
    *others, last = paths.split(",")
    for path in others:
        await generate(path, nodes.split(","), False)
    await generate(last, nodes.split(","), True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
