"""vLLM's own HTTP server before an engine, tokens in and out; and what it does not tell of a request."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from ..versions import SERVER_IN_LAUNCHERS
from .base import Whole

_PREFIX = "generate-tokens-"
"""What the server puts before a request's name."""

_BACKLOG = 8192
_KEPT_SECONDS = "3600"
"""How long a connection may idle: a caller whose event loop waits does not see that the server closes it."""


class _Client:
    """vLLM's AsyncLLM, as the server calls it; each request's last output is shown to `final`, with when it
    came, and its name as vLLM knows it is among those `under_way` until then."""

    def __init__(self, llm: Any, final: Callable[[str, tuple[Any, float]], None], under_way: dict[str, None]):
        self._llm = llm
        self._final = final
        self._under_way = under_way

    def __getattr__(self, name: str) -> Any:
        return getattr(self._llm, name)

    async def generate(self, prompt: Any, sampling: Any, name: str, **more: Any) -> AsyncIterator[Any]:
        self._under_way[name] = None
        whole, arrived_at = Whole(), time.monotonic()
        try:
            async for output in self._llm.generate(prompt, sampling, name, **more):
                kept = whole.with_(output) if sampling.output_kind.name == "DELTA" else output
                if output.finished:
                    self._final(name.removeprefix(_PREFIX), (kept, arrived_at))
                yield output
        finally:
            del self._under_way[name]


def serve_http(
    llm: Any,
    model: str,
    listener: socket.socket,
    key: str,
    final: Callable[[str, tuple[Any, float]], None],
    under_way: dict[str, None],
) -> asyncio.Task[Any]:
    """Serve at a socket that listens, to whoever has the key, until the task is cancelled."""
    os.environ["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"] = _KEPT_SECONDS
    if SERVER_IN_LAUNCHERS.there:
        from vllm.entrypoints.launchers.api_server.entry import build_and_serve
        from vllm.entrypoints.launchers.cli_args import make_arg_parser
    else:
        from vllm.entrypoints.openai.api_server import build_and_serve
        from vllm.entrypoints.openai.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    host, port = listener.getsockname()[:2]
    words = ["--model", model, "--api-key", key, "--host", host, "--port", str(port), "--tokens-only"]
    quiet = ["--disable-uvicorn-access-log", "--uvicorn-log-level", "warning"]
    args = make_arg_parser(FlexibleArgumentParser()).parse_args([*words, *quiet])
    serving = build_and_serve(
        _Client(llm, final, under_way), f"http://{host}:{port}", listener, args, backlog=_BACKLOG
    )
    return asyncio.create_task(serving)
