"""Two hosts on one machine: namespaces of network, processes, mounts and name, joined by a network.

Each host has its own /tmp, /dev/shm and processes, so that what works only on one host fails here as it would
on two. Each ends with the process that holds its standard input, by the kernel's hand: nothing has a name
that could be left behind. Needs root. It is no real network: packets stay in memory.
"""

import contextlib
import getpass
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

RELAY = Path(__file__).parent / "relay.py"
RAY = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_raylet_start_wait_time_s": "100",
    "RAY_worker_niceness": "0",
}
"""How the clusters of these hosts let in; and that what Ray starts is as urgent as what it does not."""

ADDRESSES = {"left": "10.77.0.1", "right": "10.77.0.2"}

_UNSHARED = ["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
_ENTERED = ["--net", "--mount", "--pid", "--uts", "--ipc"]
_COMPILED = Path(f"/tmp/torchinductor_{getpass.getuser()}")
"""What torch has compiled on this machine: vLLM has it compile a part of a tensor-parallel model's first
step, which takes 20 s and more where nothing is kept, and was taken for a stall."""

# $1 is the host's name, $2 what is in its /etc/hosts; the others are folders of this machine's /tmp that it
# sees in its own.
_INIT = """
set -e
hostname "$1"
names=$2
shift 2
mount --rbind /tmp /mnt
mount -t tmpfs tmpfs /tmp
for folder; do
    mkdir -p "$folder"
    mount --rbind "/mnt/${folder#/tmp/}" "$folder"
done
umount --lazy /mnt
mount -t tmpfs tmpfs /dev/shm
printf '127.0.0.1 localhost\n%s\n' "$names" > /tmp/hosts
mount --bind /tmp/hosts /etc/hosts
mount --bind /dev/null /etc/resolv.conf  # a server of names that cannot be reached costs 10 s a question
ip link set lo up
echo up
while read -r line; do :; done
"""


def unavailable(relayed: bool = True) -> str | None:
    """Why there can be no two hosts here, or None where there can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    missing = [tool for tool in ("unshare", "nsenter", "ip") if shutil.which(tool) is None]
    if missing:
        return f"{' and '.join(missing)} not installed"
    if relayed and not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun cannot be opened"
    tried = subprocess.run(["unshare", *_UNSHARED, "true"], capture_output=True, text=True)
    return None if tried.returncode == 0 else f"namespaces cannot be had here: {tried.stderr.strip()}"


def _kept() -> list[str]:
    """Folders of /tmp that a host must see too: what is compiled, and this Python and all its modules where
    they are there, as those of a checkout in /tmp."""
    _COMPILED.mkdir(exist_ok=True)
    places = {Path(place).resolve() for place in (__file__, sys.prefix, sys.base_prefix, *sys.path) if place}
    tops = {Path(*place.parts[:3]) for place in places if Path("/tmp") in place.parents}
    return [str(top) for top in tops | {_COMPILED} if top.is_dir()]


class Host:
    """A host by its name and address; ends with the block of `two_hosts`, or when it is told to."""

    def __init__(self, name: str):
        self.name, self.address = name, ADDRESSES[name]
        # Of its own: who works on this machine may have put a token of Ray's into the home.
        self.environment = {**os.environ, "HOME": "/tmp", **RAY}
        self._init = subprocess.Popen(
            [
                "unshare",
                *_UNSHARED,
                "bash",
                "-c",
                _INIT,
                "host",
                name,
                "\n".join(f"{its} {one}" for one, its in ADDRESSES.items()),
                *_kept(),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._init.stdout is not None
        if self._init.stdout.readline() != "up\n":
            raise RuntimeError(f"host {name} did not start")
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text()
        self.pid = int(children.split()[0])

    def command(self, *words: str) -> list[str]:
        """What runs a command there, on cores of this host's own where there are enough, as it would be."""
        cores = sorted(os.sched_getaffinity(0))
        own = cores[list(ADDRESSES).index(self.name) :: len(ADDRESSES)] or cores
        pinned = ["taskset", "--cpu-list", ",".join(map(str, own))]
        return [*pinned, "nsenter", f"--target={self.pid}", *_ENTERED, *words]

    def run(self, *words: str, timeout: float = 120.0, **environment: str) -> str:
        """Run a command there; what it prints. Raises CalledProcessError with what it said."""
        done = subprocess.run(
            self.command(*words),
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)} on {self.name}: {done.stdout}{done.stderr}")
        return done.stdout

    def start_ray(self, head: "Host | None" = None, cpus: int = 2, **environment: str) -> None:
        """Start a raylet, of a cluster of its own or of the one that has its head on `head`."""
        joined = (
            [f"--address={head.address}:6379"]
            if head
            else ["--head", "--port=6379", "--include-dashboard=false"]
        )
        sizes = [f"--num-cpus={cpus}", f"--object-store-memory={80 << 20}"]
        self.run(
            *[sys.executable, "-m", "ray.scripts.scripts", "start", *joined, *sizes],
            *[f"--node-ip-address={self.address}", f"--node-name={self.name}"],
            "--disable-usage-stats",
            **environment,
        )

    def processes(self) -> list[str]:
        """Command lines of what runs there, other than the host's own."""
        lines = self.run("ps", "-eo", "pid=,args=").splitlines()
        own = ("bash -c", "ps -eo")
        return [line for line in lines if not line.split(maxsplit=1)[1].startswith(own)]

    def end(self) -> None:
        """End it: every process at once, and then its network."""
        with self._init:  # which waits for it, and closes its pipes
            self._init.kill()


class Network:
    """What joins two hosts: a process that relays their packets, and can hold, drop and cut."""

    def __init__(self, hosts: "list[Host]"):
        words = [sys.executable, str(RELAY), *(str(host.pid) for host in hosts)]
        self._relay = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._relay.stdout is not None
        if self._relay.stdout.readline() != "up\n":
            raise RuntimeError("the relay did not start")

    def set(self, delay_seconds: float = 0.0, lost: tuple[float, float] = (0.0, 0.0)) -> None:
        """Have each packet take so long, and lose so many of those from each host."""
        assert self._relay.stdin is not None
        assert self._relay.stdout is not None
        self._relay.stdin.write(json.dumps([delay_seconds, *lost]) + "\n")
        self._relay.stdin.flush()
        self._relay.stdout.readline()

    def end(self) -> None:
        with self._relay:
            self._relay.kill()


def _wire(hosts: list[Host]) -> None:
    """Join them by a pair of the kernel's own interfaces, without a process between."""
    ends = [["name", "eth0", "netns", str(host.pid)] for host in hosts]
    subprocess.run(["ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1]], check=True)


@contextlib.contextmanager
def two_hosts(relayed: bool = True) -> Iterator[tuple[Host, Host, Network | None]]:
    """Two hosts and the network between them; without a relay it is the kernel's own, and as it is."""
    hosts: list[Host] = []
    network = None
    try:
        for name in ADDRESSES:
            hosts.append(Host(name))  # noqa: PERF401 - those that started must end where the next does not
        if relayed:
            network = Network(hosts)
        else:
            _wire(hosts)
        for host, other in (hosts, hosts[::-1]):
            host.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
            host.run("ip", "link", "set", "eth0", "up")
            host.run("ip", "route", "add", "default", "via", other.address)
        yield hosts[0], hosts[1], network
    finally:
        if network is not None:
            network.end()
        for host in hosts:
            host.end()
