"""The network between two hosts: a process that takes their packets off a tun device each.

    python relay.py PID PID

A line of JSON on standard input sets [seconds that a packet takes, share lost from the first, from the
second].
"""

import ctypes
import fcntl
import heapq
import itertools
import json
import os
import random
import select
import struct
import sys
import time

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_MTU = 9000


def device(pid: int) -> int:
    """A tun device eth0 of the network namespace of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    os.close(namespace)
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", b"eth0", _IFF_TUN | _IFF_NO_PI))
    os.system(f"ip link set eth0 mtu {_MTU} txqueuelen 10000")
    return descriptor


def main() -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(29, 1, 0, 0, 0)  # PR_SET_TIMERSLACK: sleeps end within a nanosecond, not 50 us later
    libc.prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGKILL
    left, right = (device(int(pid)) for pid in sys.argv[1:])
    others = {left: right, right: left}
    delay, lost = 0.0, {left: 0.0, right: 0.0}
    under_way: list[tuple[float, int, int, bytes]] = []
    numbers = itertools.count()
    sources = [left, right, sys.stdin.fileno()]
    print("up", flush=True)
    while True:
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            _due, _number, to, packet = heapq.heappop(under_way)
            try:
                os.write(to, packet)
            except OSError:  # the device is down, or its queue full: as a network does
                pass
        # Not epoll, which counts milliseconds.
        ready, _, _ = select.select(sources, [], [], under_way[0][0] - now if under_way else None)
        for descriptor in ready:
            if descriptor == sys.stdin.fileno():
                line = sys.stdin.readline()
                if not line:
                    return
                delay, lost[left], lost[right] = json.loads(line)
                print("set", flush=True)
                continue
            for _ in range(64):
                try:
                    packet = os.read(descriptor, 65536)
                except BlockingIOError:
                    break
                except OSError:
                    return  # a host has ended
                if random.random() < lost[descriptor]:
                    continue
                due = time.monotonic() + delay
                heapq.heappush(under_way, (due, next(numbers), others[descriptor], packet))


if __name__ == "__main__":
    main()
