"""Compile requirements/*.in to *.lock with uv: what `make lock` runs.

A lock that is there keeps its versions as far as the .in file allows; --upgrade takes the newest.

    python requirements/lock.py [--upgrade]
"""

import argparse
import subprocess
import sys
from pathlib import Path

import install

REQUIREMENTS = Path(__file__).resolve().parent
HEADER = "# Compiled by `make lock` from {name}.in. {note}\n"


def compile_lock(uv: str, name: str, note: str, options: list[str], upgrade: bool) -> None:
    """Write NAME.lock from NAME.in.

    Raises:
        install.InstallError: uv found no solution; its own words are on stderr.
    """
    lock = f"{name}.lock"
    command = [uv, "pip", "compile", f"{name}.in", "--output-file", lock, "--quiet", "--no-header"]
    done = subprocess.run(command + options + ["--upgrade"] * upgrade, cwd=REQUIREMENTS)
    if done.returncode:
        raise install.InstallError(f"uv did not compile {name}.in (exit {done.returncode})")
    path = REQUIREMENTS / lock
    path.write_text(HEADER.format(name=name, note=note) + path.read_text())
    print(f"requirements/{lock}: {len(install.read_pins(path.read_text()))} packages", flush=True)


def main() -> None:
    """Compile every lock."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    upgrade = parser.parse_args().upgrade
    uv = install.find_uv(Path(sys.executable).parent)
    if uv is None:
        raise install.InstallError("making the locks needs uv, and none was found: pip install uv")
    # Any CPU build will do here: which one, the .in file decides.
    torch = install.torch_options("+cpu", install.find_links(sys.executable), python_tag="cp311", uv=True)
    cpu = ["--python-platform", "x86_64-manylinux_2_35", "--python-version", "3.11"]
    compile_lock(
        uv,
        "cpu",
        "For Linux x86-64; made for Python 3.11, serves 3.11 to 3.13.",
        [*cpu, "--override", "override.txt", *torch],
        upgrade,
    )
    cuda = ["--python-platform", "x86_64-manylinux_2_35", "--python-version", "3.12"]
    compile_lock(uv, "cuda", "For Linux x86-64 and Python 3.12.", cuda, upgrade)
    # The tools share .venv with the CPU packages: one version of each.
    tools = ["--universal", "--python-version", "3.11", "--constraint", "cpu.lock"]
    compile_lock(uv, "tools", "For Python 3.11 and newer.", tools, upgrade)


if __name__ == "__main__":
    install.exit_with(main)
