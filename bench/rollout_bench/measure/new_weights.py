"""A weight update inside a worker: every weight of its model replaced from the host's memory, really copied.

Knows torch and a module's parameters; `probe` calls it.
"""

from typing import Any


class NewWeights:
    """A second set of a model's weights in the host's memory, pageable as what another process shares is.

    They are the first ones with the sign changed, so that a copy shows, whatever order a layer keeps them in.
    """

    def __init__(self, model: Any):
        self._pairs = [
            (parameter.data, parameter.data.neg().cpu())
            for parameter in model.parameters()
            if parameter.numel()
        ]

    def copy(self) -> int:
        """Replace the model's weights; how many bytes that took. They are there when this returns."""
        for own, new in self._pairs:
            own.copy_(new)
        if any(own.is_cuda for own, _new in self._pairs):
            import torch

            torch.cuda.synchronize()
        return sum(new.nbytes for _own, new in self._pairs)

    def are_there(self) -> bool:
        """Whether the model has them, by the first number of each weight."""
        return all(bool(own.flatten()[0].cpu() == new.flatten()[0]) for own, new in self._pairs)
