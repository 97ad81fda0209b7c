"""Bring a Python environment to a commit's lock, then install rollout-perf into it.

`make setup` uses it for .venv, and asv for the environment of the commit under measurement: then
the locks are that commit's, and this script is the one of the checkout that runs asv. Afterwards
the environment holds what the locks name and what it held before the first lock came (pip and
the like), nothing else: so two commits with one lock are measured with the same packages.

Standard library only, and of the harness what needs no more, since nothing is installed yet when it runs; it
must not import rollout_perf.

    python requirements/install.py --python .venv/bin/python --locks requirements --tools --editable .
"""

import argparse
import ast
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OWN = ("rollout-perf", "rollout-bench")
"""Distributions of this repository: no lock names them."""
BASELINE = "rollout-perf-baseline.txt"
STAMP = "rollout-perf-stamp.json"
LOG = "rollout-perf-install.log"
FAILED = "rollout-perf-failed.txt"
"""Why the environment does not hold a release's lock; `rollout_bench.measure.installed` reads it."""
UNRESOLVED = "# cannot be resolved: "
"""The only line of the lock of a release that has none; `rollout_bench.history.ledger` writes it."""
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

# Runs in the target environment: PYTHONPATH counts for vLLM, and never for what is installed.
PROBE = """
import importlib.metadata, importlib.util, json, sys, sysconfig
folders = list({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
vllm = importlib.util.find_spec("vllm")
print(json.dumps({
    "prefix": sys.prefix,
    "version": list(sys.version_info[:2]),
    "vllm": (vllm.origin or list(vllm.submodule_search_locations)[0]) if vllm else None,
    "installed": {d.name: d.version for d in importlib.metadata.distributions(path=folders) if d.name},
    "seen": {d.name: d.version for d in reversed([*importlib.metadata.distributions()]) if d.name},
}))
"""


class InstallError(Exception):
    """What went wrong and what to do, in one line, with the exit status to end with."""

    def __init__(self, message: str, status: int = 1):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Environment:
    """A Python environment as its own interpreter describes it."""

    python: Path
    prefix: Path
    version: tuple[int, int]
    installed: dict[str, str]  # normalised name -> version, without this project
    seen: dict[str, str]  # the same of all that it can import, what the host provides among it
    vllm: Path | None  # where `import vllm` would take it from

    @property
    def host_provides(self) -> bool:
        """Whether vLLM comes from outside the environment, as with ASV_PYTHONPATH on a GPU host."""
        return self.vllm is not None and not self.vllm.is_relative_to(self.prefix)


# --- decisions -----------------------------------------------------------------------------------


def normalise(name: str) -> str:
    """The one spelling of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def choose_flavour(asked: str | None, has_gpu: bool) -> str:
    """`cpu` or `cuda`: as asked, else by the hardware.

    Raises:
        InstallError: an unknown flavour, or `cuda` without a GPU (status 2).
    """
    flavour = asked or ("cuda" if has_gpu else "cpu")
    if flavour not in ("cpu", "cuda"):
        raise InstallError(
            f"unknown flavour {flavour!r}: use cpu or cuda (--flavour, ROLLOUT_PERF_FLAVOUR)", 2
        )
    if flavour == "cuda" and not has_gpu:
        raise InstallError(
            "the cuda flavour was asked for, but no NVIDIA GPU is visible: use --flavour cpu", 2
        )
    return flavour


def read_pins(lock: str) -> dict[str, str]:
    """Lines of a lock by package name. With markers, a name may have several lines: joined by newlines."""
    pins: dict[str, str] = {}
    for line in lock.splitlines():
        if match := re.match(r"([A-Za-z0-9][\w.-]*)(==| @ )", line):
            name = normalise(match[1])
            pins[name] = f"{pins[name]}\n{line}" if name in pins else line
    return pins


def wanted_pins(locks: Iterable[str], baseline: Mapping[str, str], installed: Mapping[str, str]) -> str:
    """The requirements to install, one a line, from the texts of locks and what the baseline adds.

    Where two locks name a package the first wins: that is the flavour's, which is measured. A
    baseline package that no lock names goes back to its first version, if an earlier lock moved it.
    """
    pins: dict[str, str] = {}
    for lock in locks:
        pins = read_pins(lock) | pins
    for name, version in baseline.items():
        if name not in pins and installed.get(name) != version:
            pins[name] = f"{name}=={version}"
    return "".join(f"{pins[name]}\n" for name in sorted(pins))


def extraneous(installed: Iterable[str], wanted: str, baseline: Iterable[str]) -> list[str]:
    """Packages that neither a lock nor the baseline accounts for, sorted."""
    return sorted(set(installed) - set(read_pins(wanted)) - set(baseline))


def torch_options(version: str, places: Iterable[str], python_tag: str, uv: bool) -> list[str]:
    """Where torch's CPU build comes from, as options of pip or uv.

    `version` is the locked one, or the `+cpu` alone for any. A find-links place that holds the
    wheel is enough by itself: uv fails outright at an index that it cannot reach.
    """
    if not version.endswith("+cpu"):
        return []
    wanted = re.compile(rf"torch-[^-]*{re.escape(version)}-{python_tag}-[^-]*-.*{platform.machine()}\.whl")
    for place in places:
        if any(wanted.fullmatch(wheel) for wheel in list_wheels(place)):
            return ["--find-links", place]
    # PyTorch's index also has copies of other packages, which must not hide PyPI's from uv.
    return ["--extra-index-url", TORCH_CPU_INDEX, *["--index-strategy", "unsafe-best-match"] * uv]


def first_error(output: str) -> str:
    """An installer's complaint, squeezed into one line of at most 400 characters."""
    lines = [re.sub(r"[×│╰─▶├\s]+", " ", line).strip() for line in output.splitlines()]
    lines = [line for line in lines if line and not re.match(r"(?i)warning|\[notice\]", line)]
    starts = [i for i, line in enumerate(lines) if re.match(r"(?i)error|no solution", line)]
    text = " ".join(lines[starts[0] :]) if starts else " ".join(lines[-1:])
    text = re.sub(r"(?i)^error:\s*|\{[^{}]*platform[^{}]*\}", "", text)  # uv's markers make it long
    return text if len(text) <= 400 else text[:397] + "..."


# --- looking at the machine ----------------------------------------------------------------------


def answer(*command: str) -> str:
    """What a command prints; nothing, if it is not there, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout


def gpu_visible() -> bool:
    """Whether an NVIDIA GPU can be used here, as the harness beside this script will find.

    Raises:
        InstallError: that cannot be said.
    """
    sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))
    from rollout_bench.measure.machine import GpusUnknown, gpus

    try:
        return bool(gpus())
    except GpusUnknown as error:
        raise InstallError(f"{error}; or use --flavour cpu (ROLLOUT_PERF_FLAVOUR)") from None


def find_uv(*folders: Path) -> str | None:
    """A uv that runs: beside this Python, in `folders`, in the checkout's .venv, then on PATH."""
    checkout = Path(__file__).resolve().parent.parent
    places = [Path(sys.executable).parent, *folders, checkout / ".venv" / "bin"]
    candidates = [*(str(place / "uv") for place in places), "uv"]
    # Run, not looked for: a version manager's shim may be there and yet not work.
    return next((uv for uv in candidates if answer(uv, "--version")), None)


def pip_setting(python: str, key: str) -> list[str]:
    """Values of one of pip's settings, from its files and PIP_ variables."""
    values = re.findall(rf"^\S*\.{key}=(.+)$", answer(python, "-m", "pip", "config", "list"), re.MULTILINE)
    return list(dict.fromkeys(word for value in values for word in ast.literal_eval(value).split()))


def find_links(python: str) -> list[str]:
    """Every find-links place of this machine's pip and uv configuration."""
    places = re.split(r"[\s,]+", os.environ.get("UV_FIND_LINKS", "")) + pip_setting(python, "find-links")
    return [place for place in dict.fromkeys(places) if place]


def uv_variables(python: str) -> dict[str, str]:
    """The environment for uv, which does not read pip's settings, where a site's mirror of PyPI stands."""
    variables = dict(os.environ)
    if not variables.keys() & {"UV_DEFAULT_INDEX", "UV_INDEX_URL"}:
        for url in pip_setting(python, "index-url")[:1]:
            variables["UV_DEFAULT_INDEX"] = url
    return variables


def list_wheels(place: str) -> list[str]:
    """Names of the wheels at a find-links place: a folder or a page. None, if it cannot be read."""
    try:
        if place.startswith(("http://", "https://")):
            with urllib.request.urlopen(place, timeout=20) as page:
                names = re.findall(r"[^\s/\"'>]+\.whl", page.read().decode(errors="replace"))
        else:
            names = os.listdir(urllib.parse.unquote(place.removeprefix("file://")))
    except OSError:
        return []
    return [urllib.parse.unquote(name) for name in names if name.endswith(".whl")]


def probe(python: Path) -> Environment:
    """Ask an environment's interpreter about itself.

    Raises:
        InstallError: it is not there, does not run, or is older than 3.11.
    """
    if not os.access(python, os.X_OK):
        raise InstallError(f"no Python at {python}: create the environment first")
    variables = dict(os.environ)
    if "ASV_PYTHONPATH" in variables:
        variables["PYTHONPATH"] = variables["ASV_PYTHONPATH"]
    # -P: a folder `vllm` in the current directory is no vLLM.
    done = subprocess.run([python, "-P", "-c", PROBE], capture_output=True, text=True, env=variables)
    if done.returncode:
        raise InstallError(f"{python} is no usable Python 3.11 or newer: {first_error(done.stderr)}")
    facts = json.loads(done.stdout.splitlines()[-1])
    installed = {normalise(name): version for name, version in facts["installed"].items()}
    for name in OWN:
        installed.pop(name, None)
    return Environment(
        python=python,
        prefix=Path(facts["prefix"]),
        version=tuple(facts["version"]),
        installed=installed,
        seen={normalise(name): version for name, version in facts["seen"].items()},
        vllm=Path(facts["vllm"]) if facts["vllm"] else None,
    )


# --- changing the environment --------------------------------------------------------------------


class Installer:
    """pip or uv, at work on one environment, logging to a file there."""

    def __init__(self, environment: Environment):
        self.environment = environment
        self.uv = find_uv(environment.python.parent)
        self.name = "uv" if self.uv else "pip"
        self.variables = dict(os.environ)
        self.log = environment.prefix / LOG
        self.log.write_text("")

    def stage(self, what: str, verb: str, *arguments: str) -> None:
        """Run one command of the installer, and print one line: what it did and for how long.

        Raises:
            InstallError: the command failed; its whole output is in the log.
        """
        python = str(self.environment.python)
        if self.uv:
            command = [self.uv, "pip", verb, "--python", python, *arguments]
        else:
            command = [python, "-m", "pip", verb, *arguments]
        print(what, end=" ... ", flush=True)
        start = time.monotonic()
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self.variables,
        )
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n{done.stdout}\n")
        if done.returncode:
            print("failed", flush=True)
            raise InstallError(
                f"{self.name} {verb} failed: {first_error(done.stdout)} (all of it: {self.log})"
            )
        print(f"{time.monotonic() - start:.1f} s", flush=True)

    def bring_to(self, wanted: str, what: str) -> None:
        """Install exactly the pins of `wanted`, dependencies not followed: a lock names them all."""
        environment = self.environment
        requirements = environment.prefix / "rollout-perf-wanted.txt"
        requirements.write_text(wanted)
        options = []
        torch = read_pins(wanted).get("torch", "").partition("==")[2].partition(" ")[0]
        if torch != environment.installed.get("torch"):
            tag = "cp{}{}".format(*environment.version)
            options = torch_options(torch, find_links(str(environment.python)), tag, uv=bool(self.uv))
        # pip compiles by itself. Left to the first import, vLLM's compilation takes over a minute.
        options += ["--compile-bytecode"] if self.uv else []
        if self.uv:
            self.variables = uv_variables(str(environment.python))
        self.stage(f"{what} with {self.name}", "install", "--no-deps", *options, "-r", str(requirements))

    def remove(self, names: list[str]) -> None:
        """Uninstall packages."""
        what = f"removing {len(names)} that no lock names ({', '.join(names)})"
        self.stage(what, "uninstall", *[] if self.uv else ["--yes"], *names)

    def install_project(self, wheel: Path | None, editable: Sequence[Path]) -> None:
        """Install what this repository holds itself, offline."""
        options = ["--no-deps", "--no-index", "--force-reinstall"]
        if wheel:
            self.stage(wheel.name, "install", *options, str(wheel))
        for folder in editable:
            what = f"{folder}, editable"
            self.stage(what, "install", *options, "--no-build-isolation", "-e", str(folder))


def read_lock(locks: Path, name: str) -> str:
    """The text of a lock.

    Raises:
        InstallError: the commit has none.
    """
    try:
        return (locks / f"{name}.lock").read_text()
    except OSError:
        raise InstallError(f"this commit carries no requirements/{name}.lock (looked in {locks})") from None


def keep_baseline(environment: Environment) -> dict[str, str]:
    """What the environment held before its first lock; written down the first time."""
    path = environment.prefix / BASELINE
    if not path.exists():
        lines = (f"{name}=={version}\n" for name, version in sorted(environment.installed.items()))
        path.write_text("".join(lines))
    return dict(line.split("==", 1) for line in path.read_text().splitlines())


def apply_locks(environment: Environment, installer: Installer, locks: Path, names: list[str]) -> None:
    """Make the environment what its locks say; nothing to do, if neither has changed since."""
    texts = [read_lock(locks, name) for name in names]
    for text in texts:
        if text.startswith(UNRESOLVED):
            raise InstallError(text.removeprefix("# ").strip())
    what = " and ".join(f"{name}.lock" for name in names)
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    baseline = keep_baseline(environment)
    stamp = environment.prefix / STAMP
    if stamp.exists() and json.loads(stamp.read_text()) == [digest, environment.installed]:
        print(f"{what}: unchanged", flush=True)
        return
    stamp.unlink(missing_ok=True)
    wanted = wanted_pins(texts, baseline, environment.installed)
    if surplus := extraneous(environment.installed, wanted, baseline):
        installer.remove(surplus)  # before, since what takes its place may have files of the same names
    installer.bring_to(wanted, what)
    stamp.write_text(json.dumps([digest, probe(environment.python).installed]))


def check_host(environment: Environment, lock: str, package: str) -> None:
    """See that what the host provides is the release that is to be measured.

    Raises:
        InstallError: it is another one.
    """
    pin, there = read_pins(lock).get(package, ""), environment.seen.get(package)
    if there != pin.partition("==")[2].partition(" ")[0]:
        raise InstallError(
            f"ASV_PYTHONPATH gives {package} {there}, and the release is {pin or 'without a lock'}", 2
        )


def main() -> None:
    """Parse the command line and bring the environment there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", type=Path, required=True, help="the environment's interpreter")
    parser.add_argument("--locks", type=Path, required=True, help="the folder of the .lock files")
    parser.add_argument("--tools", action="store_true", help="tools.lock too: tests, linters, asv")
    parser.add_argument("--flavour", help="cpu or cuda (default: ROLLOUT_PERF_FLAVOUR, else by the hardware)")
    parser.add_argument(
        "--image",
        action="store_true",
        help="build an image: the machine that will run it has the GPU of --flavour cuda",
    )
    parser.add_argument(
        "--release",
        metavar="PACKAGE",
        help="the lock is of its release: one that cannot be installed leaves the reason in the environment",
    )
    project = parser.add_mutually_exclusive_group()
    project.add_argument("--wheel", type=Path, help="rollout-perf's wheel to install")
    project.add_argument(
        "--editable", type=Path, action="append", default=[], help="a folder to install in place; repeatable"
    )
    given = parser.parse_args()
    if given.wheel and not given.wheel.is_file():
        raise InstallError(f"no wheel at {given.wheel}")

    environment = probe(given.python.absolute())
    failed = environment.prefix / FAILED
    failed.unlink(missing_ok=True)
    try:
        bring_there(environment, given)
    except InstallError as error:
        if given.release is None or error.status != 1:
            raise
        failed.write_text(f"{error}\n")
        print(f"not installed: {error}", flush=True)


def bring_there(environment: Environment, given: argparse.Namespace) -> None:
    """Install what the command line asks for. Raises InstallError."""
    installer = Installer(environment)
    if environment.host_provides:
        if given.release:
            flavour = choose_flavour(given.flavour, gpu_visible())
            check_host(environment, read_lock(given.locks, flavour), given.release)
        print(f"vLLM comes from the host ({environment.vllm}): its packages count, no lock does", flush=True)
    elif "ASV_PYTHONPATH" in os.environ:
        raise InstallError(
            "ASV_PYTHONPATH is set and gives no vllm: point it at a folder that has one, or unset it"
        )
    else:
        asked = given.flavour or os.environ.get("ROLLOUT_PERF_FLAVOUR")
        flavour = choose_flavour(asked, given.image or (asked != "cpu" and gpu_visible()))
        apply_locks(environment, installer, given.locks, [flavour, "tools"] if given.tools else [flavour])
    installer.install_project(given.wheel, given.editable)


def exit_with(command: Callable[[], None]) -> None:
    """Run a command and end the process: an InstallError becomes one line on stderr and its exit status."""
    try:
        command()
    except (InstallError, OSError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(getattr(problem, "status", 1))


if __name__ == "__main__":
    exit_with(main)
