"""The entry `http-router`: the entry `http`, and vllm-router between the caller and vLLM's server.

The router hands on the run's key with each request, and the server looks at it. It is told to be no limit
itself: it neither queues, nor tries again, nor takes its server for dead.
"""

import asyncio
import signal
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import aiohttp

from ..engine import Engine, EngineSpec
from ..errors import EngineError
from ..transports.base import POLL_SECONDS
from ..transports.run import Run
from . import http
from .remote import MOST_IN_FLIGHT

_NO_LIMIT = {
    "--max-concurrent-requests": 2 * MOST_IN_FLIGHT,
    "--queue-size": MOST_IN_FLIGHT,
    "--request-timeout-secs": 24 * 3600,
}
_SWITCHES = ("--disable-retries", "--disable-circuit-breaker")

_LOG = "vllm-router.log"
"""In the run's folder: what the router says, which is of errors alone."""
_LAUNCH = f"""
import ctypes, runpy
ctypes.CDLL(None).prctl(1, {signal.SIGKILL:d})  # PR_SET_PDEATHSIG: it ends when the front does
runpy.run_module("vllm_router.launch_router", run_name="__main__", alter_sys=True)
"""


class HttpRouter(http.Http):
    """An engine behind vLLM's server and vllm-router."""

    serve = f"{__name__}:serve"
    breaks = (*http.Http.breaks, EngineError)  # the router lives, and answers 500 where the server is gone

    async def _start(self, spec: EngineSpec) -> None:
        await super()._start(spec)
        assert self._session is not None
        while not await _is_up(self._session):
            self._check()
            await asyncio.sleep(POLL_SECONDS)

    async def describe(self) -> dict[str, Any]:
        return await super().describe() | {
            "entry_channel": "vllm-router before http",
            "router_pid": self._started.result()["pid"],
            "vllm-router": version("vllm-router"),
        }


async def _is_up(session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get("/health") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def serve(engine: Engine, endpoint: str) -> dict[str, Any]:
    """Have the engine's server listen on the loopback interface, and the router before it at the endpoint."""
    facts = http.serve(engine, http.ANYWHERE)
    # The router takes no socket that listens already, but numbers of ports that are free now.
    own, metrics = http.listener(endpoint), http.listener(http.ANYWHERE)
    (host, port, *_more), (_host, for_metrics, *_) = own.getsockname(), metrics.getsockname()
    own.close()
    metrics.close()
    given = {
        "--worker-urls": facts["url"],
        "--host": host,
        "--port": port,
        "--prometheus-host": "127.0.0.1",
        "--prometheus-port": for_metrics,
        "--policy": "round_robin",
        "--log-level": "error",
    }
    words = [str(word) for option in (given | _NO_LIMIT).items() for word in option]
    command = [sys.executable, "-c", _LAUNCH, *words, *_SWITCHES]
    with (Run.from_environment().folder / _LOG).open("wb") as log:
        router = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    http.end_with(asyncio.get_running_loop().create_task(_watch(router)))
    return facts | {"url": http.url(host, port), "pid": router.pid}


async def _watch(router: subprocess.Popen) -> None:
    """Raise EngineError when the router has ended, with what it said last."""
    while (code := router.poll()) is None:  # noqa: ASYNC110 - a process sets no event
        await asyncio.sleep(POLL_SECONDS)
    said = (Run.from_environment().folder / _LOG).read_text(errors="replace").split("\n")
    words = next((line for line in reversed(said) if line.strip()), "it said nothing")
    raise EngineError(f"vllm-router ended (exit code {code}): {words}")
