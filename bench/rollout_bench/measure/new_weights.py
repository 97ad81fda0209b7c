"""A weight update inside a worker: every weight of its model replaced by another, really copied.

Knows torch and a module's parameters; `probe` calls it.
"""

import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class NewWeights:
    """A model's weights, and what gives a second set of them; `holder` has that until it is dropped."""

    def __init__(self, own: Sequence[Any], give: Callable[[], Sequence[Any]], holder: Any = None):
        self._own = own
        self._give = give
        self._holder = holder

    def copy(self) -> int:
        """Replace the model's weights; how many bytes that took. They are there when this returns."""
        new = self._give()
        for own, one in zip(self._own, new, strict=True):
            own.copy_(one)
        if any(own.is_cuda for own in self._own):
            import torch

            torch.cuda.synchronize()
        return sum(one.nbytes for one in new)

    def are_there(self) -> bool:
        """Whether the model has them, by the first number of each weight."""
        pairs = zip(self._own, self._give(), strict=True)
        return all(bool(own.flatten()[0].cpu() == one.flatten()[0].cpu()) for own, one in pairs)


def from_host(model: Any) -> NewWeights:
    """New weights in the host's memory, pageable as what another process shares is.

    They are the first ones with the sign changed, so that a copy shows, whatever order a layer keeps them in.
    """
    own = _weights(model)
    new = [one.neg().cpu() for one in own]
    return NewWeights(own, lambda: new)


def from_trainer(model: Any) -> NewWeights:
    """New weights that a process of its own has on the same GPU, as a trainer there has (`trainer`).

    Their handles are opened for each copy, as those of newer weights are, and closed.
    """
    from torch.multiprocessing import reductions

    own = _weights(model)
    trainer = subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).with_name("trainer.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert trainer.stdin is not None
    assert trainer.stdout is not None
    pickle.dump(([(tuple(one.shape), one.dtype) for one in own], own[0].device), trainer.stdin)
    trainer.stdin.flush()
    handles = pickle.load(trainer.stdout)
    return NewWeights(own, lambda: [reductions.rebuild_cuda_tensor(*handle) for handle in handles], trainer)


def _weights(model: Any) -> list[Any]:
    return [parameter.data for parameter in model.parameters() if parameter.numel()]
