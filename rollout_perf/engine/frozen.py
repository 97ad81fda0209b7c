"""Keeps Python from looking for garbage in what stands while engines of this process are open.

As vLLM's own server does: to look through an engine's objects takes 0.4 s, in which no request goes in or
out. What Python has frozen is one for the whole process: other engines and the caller are heeded.
"""

import gc
import threading

_lock = threading.Lock()
_engines = 0
_before = 0
"""Objects that the caller had frozen when the first of these engines came."""


def freeze() -> None:
    """An engine is up: what is there by now stays."""
    global _engines, _before
    with _lock:
        if not _engines:
            _before = gc.get_freeze_count()
        _engines += 1
        gc.collect()
        gc.freeze()


def thaw() -> None:
    """An engine ends; with the last of them all is as before, and what the caller had frozen is again."""
    global _engines
    with _lock:
        _engines -= 1
        if not _engines:
            gc.unfreeze()
            if _before:
                gc.collect()
                gc.freeze()
