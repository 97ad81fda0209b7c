"""Adapters of systems, good and bad ones, as people would write them: `PYTHONPATH` or `folder` finds them."""

import asyncio
import subprocess


async def good(settings):
    return System(settings)


async def short(settings):
    return Short(settings)


async def mixed_up(settings):
    return MixedUp(settings)


async def silent(settings):
    return Silent(settings)


async def half(_settings):
    return object()


class System:
    """Answers at once, the last request first, and has a process that stands for its server."""

    def __init__(self, settings):
        assert settings.model.endswith("nano")
        assert settings.engine_arguments["load_format"] == "dummy"
        self.server = subprocess.Popen(["sleep", "1000"])

    async def generate(self, requests):
        for request in reversed(requests):
            yield request.id, [7] * request.max_tokens

    async def describe(self):
        return {"vllm": "none", "server": self.server.pid}

    async def stop(self):
        self.server.kill()
        self.server.wait()


class Short(System):
    async def generate(self, requests):
        for request in requests:
            yield request.id, [7] * min(4, request.max_tokens)


class MixedUp(System):
    """Takes answers in the order in which they are done for those to the requests in their order."""

    async def generate(self, requests):
        for request, done in zip(requests, reversed(requests), strict=True):
            yield request.id, [7] * done.max_tokens


class Silent(System):
    async def generate(self, requests):
        yield requests[0].id, [7] * requests[0].max_tokens
        await asyncio.Event().wait()
