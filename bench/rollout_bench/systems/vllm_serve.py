"""vLLM's own server, as `vllm serve` starts it: a POST a request, final outputs.

    rollout-perf compare --system rollout_bench.systems.vllm_serve:tokens

`tokens` is for tokens in and tokens out (/inference/v1/generate), `completions` for OpenAI's completions with
token ids as the prompt.
"""

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

import aiohttp

from ..measure.system import Request, Settings
from . import as_they_end

_LOOK_SECONDS, _END_SECONDS = 0.2, 20.0
_WORDS = 200

VARIABLES = {
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # as engines of ours have it
    # Whoever waits for its turn in a session does not see that a connection has been closed.
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "3600",
}


async def tokens(settings: Settings) -> "Server":
    """Start it for tokens in and tokens out."""
    return await Tokens.started(settings)


async def completions(settings: Settings) -> "Server":
    """Start it for OpenAI's completions."""
    return await Completions.started(settings)


class Server:
    """vLLM's server in a process, and a client that has a connection for each request."""

    route: str
    arguments: Sequence[str] = ()

    def __init__(self, process: subprocess.Popen[bytes], port: int, key: str):
        self.url = f"http://127.0.0.1:{port}"
        self._process = process
        self._session = aiohttp.ClientSession(
            self.url,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3600),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"Authorization": f"Bearer {key}"},
        )

    @classmethod
    async def started(cls, settings: Settings) -> Self:
        """Start it, and return when it serves; raises RuntimeError where it ends before."""
        key, port = secrets.token_hex(16), free_port()
        asked = {"tensor_parallel_size": settings.tensor_parallel_size, **settings.engine_arguments}
        listen = ["--host", "127.0.0.1", "--port", str(port)]
        command = [*cls.command(), "--model", settings.model, *listen, *cls.arguments, *options(asked)]
        variables = os.environ | VARIABLES | cls.variables(key)
        server = cls(await asyncio.to_thread(subprocess.Popen, command, env=variables), port, key)
        try:
            await server.until_up()
        except BaseException:
            await server.stop()
            raise
        return server

    @staticmethod
    def command() -> list[str]:
        """What starts it."""
        # What `vllm serve` runs: `vllm` itself looks for a package of that name, which vllm-cpu is not.
        return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--disable-uvicorn-access-log"]

    @staticmethod
    def variables(key: str) -> dict[str, str]:
        """What else its environment has."""
        return {"VLLM_API_KEY": key}

    async def until_up(self) -> None:
        """Return when the server serves. Raises RuntimeError where it has ended."""
        while True:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with exit code {self._process.returncode}")
            try:
                async with self._session.get("/health") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(_LOOK_SECONDS)

    def generate(self, requests: list[Request]) -> AsyncIterator[tuple[str, Sequence[int]]]:
        """A POST for each request."""
        return as_they_end(self._post(request) for request in requests)

    async def _post(self, request: Request) -> tuple[str, Sequence[int]]:
        async with self._session.post(self.route, json=self._body(request)) as response:
            content = await response.read()
        if response.status != 200:
            raise RuntimeError(
                f"the server answered {response.status}: {content[:_WORDS].decode(errors='replace')}"
            )
        return request.id, json.loads(content)["choices"][0]["token_ids"]

    def _body(self, request: Request) -> dict[str, Any]:
        raise NotImplementedError

    async def describe(self) -> dict[str, Any]:
        """The version that the server says it is."""
        async with self._session.get("/version") as response:
            version = (await response.json())["version"]
        return {"vllm": version, "route": self.route, "command": self._process.args}

    async def stop(self) -> None:
        """End the server, and what it has started."""
        await self._session.close()
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, _END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()


class Tokens(Server):
    """Tokens in and tokens out."""

    route = "/inference/v1/generate"
    arguments = ("--enable-scale-out",)

    def _body(self, request: Request) -> dict[str, Any]:
        sampling = {"max_tokens": request.max_tokens, "temperature": 1.0, "ignore_eos": True}
        return {"request_id": request.id, "token_ids": request.prompt, "sampling_params": sampling}


class Completions(Server):
    """OpenAI's completions."""

    route = "/v1/completions"

    def _body(self, request: Request) -> dict[str, Any]:
        sampling = {"max_tokens": request.max_tokens, "temperature": 1.0, "ignore_eos": True}
        return {"prompt": request.prompt, "return_token_ids": True, **sampling}


def free_port() -> int:
    """A port of this host that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def options(arguments: dict[str, Any]) -> list[str]:
    """vLLM's engine arguments as its commands take them."""
    words = []
    for name, value in arguments.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, list):
            words += [f"--{option}", *map(str, value)]
        else:
            words += [f"--{option}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return words
