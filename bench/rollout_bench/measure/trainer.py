"""A trainer's process: it has a set of weights on the GPU, and hands them to a worker by CUDA IPC.

    python -P trainer.py    # `new_weights` starts it, beside each worker

A pickle of shapes, types and the device comes on standard input; one of handles goes to standard output. The
weights are there until standard input ends, as with the worker. Knows torch alone: it is run as a file.
"""

import pickle
import sys
from typing import Any, BinaryIO

Asked = tuple[list[tuple[tuple[int, ...], Any]], Any]
"""Shape and type of each weight, and the device that they are to be on."""


def hold(asking: BinaryIO, answering: BinaryIO) -> None:
    """Make the weights that are asked for, say where they are, and hold them."""
    import torch
    from torch.multiprocessing import reductions

    asked: Asked = pickle.load(asking)
    weights, device = asked
    held = [torch.randn(shape, device=device).mul_(0.02).to(kind) for shape, kind in weights]
    if held[0].is_cuda:
        torch.cuda.synchronize()
    pickle.dump([reductions.reduce_tensor(one)[1] for one in held], answering)
    answering.flush()
    asking.read()


if __name__ == "__main__":
    hold(sys.stdin.buffer, sys.stdout.buffer)
