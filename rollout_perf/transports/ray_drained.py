"""What comes over a compiled graph's channels from another node. Knows no graph."""

import queue
import threading
from typing import Any

from ray.exceptions import RayChannelError, RayChannelTimeoutError

from .base import CLOSE_SECONDS, POLL_SECONDS


class Drained:
    """A channel from another node, each block of which is read as soon as it is there.

    It has one buffer here. When the next block comes, the raylet of this host waits for that to be read, and
    with it all that comes over other channels, which may be what the driver waits for (Ray 2.60).
    """

    def __init__(self, channel: Any):
        self._channel = channel
        self._blocks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._drain, name="ray-drain", daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        while True:
            try:
                self._blocks.put(self._channel.read(POLL_SECONDS))
            except RayChannelTimeoutError:
                continue
            except RayChannelError as error:  # it is closed
                self._blocks.put(error)
                return

    def read(self, timeout: float) -> Any:
        """The next block, as a channel of Ray's gives it."""
        try:
            block = self._blocks.get(timeout=timeout)
        except queue.Empty:
            raise RayChannelTimeoutError("nothing came") from None
        if isinstance(block, RayChannelError):
            self._blocks.put(block)
            raise block
        return block

    def close(self) -> None:
        self._channel.close()

    def wait(self) -> None:
        """Return when nobody reads it any more, since it is closed: what Ray has for it may go."""
        self._thread.join(CLOSE_SECONDS)
