"""vLLM's engines behind one small interface.

`AsyncEngine` is vLLM's AsyncLLM, whose engine runs in a process of its own and reaches the
workers through the path's executor; `SyncEngine` is LLM.generate in this process. Both turn
vLLM's exceptions into the package's own. `versions` says which releases of vLLM are supported, and what
differs between them.

Knows nothing of what a transport does: it gives the path's executor to vLLM, and vLLM builds it.
"""

from .base import Engine, Limits, Request, Result, Tokens, Took, is_result
from .settings import has_gpu, visible_gpus, worker_count
from .start import EngineSpec, start_engine

__all__ = [
    "Engine",
    "EngineSpec",
    "Limits",
    "Request",
    "Result",
    "Tokens",
    "Took",
    "has_gpu",
    "is_result",
    "start_engine",
    "visible_gpus",
    "worker_count",
]
