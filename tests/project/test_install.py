"""requirements/install.py: what it decides, and that it ends in one line when it cannot go on."""

import functools
import http.server
import importlib.util
import platform
import subprocess
import sys
import threading
import venv
from pathlib import Path
from types import SimpleNamespace

import pytest
from rollout_bench.measure import machine

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
LOCKS = ["cpu", "cuda", "tools"]
TORCH = f"torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_{platform.machine()}.whl"


def load_install():
    """The script as a module: it lies in no package, for it must run alone."""
    spec = importlib.util.spec_from_file_location("install", REQUIREMENTS / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


install = load_install()


@pytest.fixture
def environment(tmp_path):
    """A new environment with nothing in it, by the path of its interpreter."""
    venv.create(tmp_path / "env", with_pip=False)
    return tmp_path / "env" / "bin" / "python"


def site_packages(python: Path) -> Path:
    [folder] = python.parent.parent.glob("lib/python*/site-packages")
    return folder


def add_distribution(python: Path, name: str, version: str) -> None:
    """Make a package look installed."""
    info = site_packages(python) / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


class TestFlavour:
    def test_follows_the_hardware(self):
        assert install.choose_flavour(None, has_gpu=True) == "cuda"
        assert install.choose_flavour(None, has_gpu=False) == "cpu"

    def test_cpu_can_be_asked_for_on_a_gpu_host(self):
        assert install.choose_flavour("cpu", has_gpu=True) == "cpu"

    @pytest.mark.parametrize(("asked", "says"), [("cuda", "no NVIDIA GPU"), ("tpu", "use cpu or cuda")])
    def test_what_cannot_work_is_refused(self, asked, says):
        """Gigabytes of CUDA on a host without a GPU would fail much later, in vLLM."""
        with pytest.raises(install.InstallError, match=says) as caught:
            install.choose_flavour(asked, has_gpu=False)
        assert caught.value.status == 2

    def test_an_image_for_a_gpu_can_be_built_where_none_is(self, monkeypatch, tmp_path):
        taken = []
        monkeypatch.setattr(install, "gpu_visible", lambda: False)
        monkeypatch.setattr(install, "Installer", lambda environment: SimpleNamespace(install_project=print))
        monkeypatch.setattr(install, "apply_locks", lambda *given: taken.extend(given[-1]))
        monkeypatch.delenv("ASV_PYTHONPATH", raising=False)
        here = install.Environment(tmp_path / "python", tmp_path, (3, 12), {}, {}, None)
        given = {"flavour": "cuda", "tools": True, "locks": tmp_path, "wheel": None, "editable": []}
        install.bring_there(here, SimpleNamespace(**given, image=True))
        assert taken == ["cuda", "tools"]
        with pytest.raises(install.InstallError, match="no NVIDIA GPU"):
            install.bring_there(here, SimpleNamespace(**given, image=False))

    def test_the_hardware_is_what_the_harness_finds(self, monkeypatch):
        """With another flavour than the one that is tracked here, nothing could be measured."""

        def unknown():
            raise machine.GpusUnknown("nvidia-smi has not answered")

        monkeypatch.setattr(machine, "gpus", lambda: [{"name": "H100"}])
        assert install.gpu_visible()
        monkeypatch.setattr(machine, "gpus", unknown)
        with pytest.raises(install.InstallError, match="nvidia-smi has not answered; or use --flavour cpu"):
            install.gpu_visible()


class TestTorchSource:
    def options(self, version="2.13.0+cpu", places=(), python_tag="cp311", uv=True):
        return install.torch_options(version, [str(place) for place in places], python_tag, uv)

    def test_a_configured_place_with_the_wheel_is_enough(self, tmp_path):
        """With PyTorch's index added, uv would fail wherever that index cannot be reached."""
        (tmp_path / TORCH).touch()
        assert self.options(places=["/nowhere", tmp_path]) == ["--find-links", str(tmp_path)]
        assert self.options(version="+cpu", places=[tmp_path]) == ["--find-links", str(tmp_path)]

    def test_a_page_counts_as_a_place(self, tmp_path):
        page = f'<a href="whl/{TORCH.replace("+", "%2B")}#sha256=0">torch</a>'
        (tmp_path / "index.html").write_text(page)
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever).start()
            url = f"http://127.0.0.1:{server.server_port}/"
            try:
                assert self.options(places=[url]) == ["--find-links", url]
            finally:
                server.shutdown()

    @pytest.mark.parametrize(
        "wheel",
        [TORCH.replace("2.13.0", "2.12.0"), TORCH.replace("+cpu", ""), TORCH.replace("cp311", "cp312")],
    )
    def test_another_wheel_does_not_count(self, tmp_path, wheel):
        (tmp_path / wheel).touch()
        assert "--find-links" not in self.options(places=[tmp_path])

    def test_else_it_is_pytorchs_index(self):
        index = ["--extra-index-url", install.TORCH_CPU_INDEX]
        assert self.options(uv=False) == index
        # Without the strategy, uv takes every package that PyTorch's index has from there alone.
        assert self.options(uv=True) == [*index, "--index-strategy", "unsafe-best-match"]

    def test_a_cuda_lock_needs_no_other_source_than_pypi(self):
        assert self.options(version="2.11.0") == []


class TestPackages:
    def test_the_flavour_wins_over_the_tools(self):
        """What is measured must be at the version of its lock, whatever the tools were compiled with."""
        wanted = install.wanted_pins(["numpy==2.0\n", "numpy==1.0\nruff==0.1\n"], {}, {})
        assert wanted == "numpy==2.0\nruff==0.1\n"

    def test_lines_with_markers_are_kept(self):
        lock = "a==1 ; python_version < '3.12'\na==2 ; python_version >= '3.12'\n    # via b\n"
        assert install.wanted_pins([lock], {}, {}).splitlines() == lock.splitlines()[:2]

    def test_what_an_earlier_lock_moved_goes_back(self):
        """Else a commit would be measured with what the commit before it needed."""
        first, now = {"wheel": "1", "pip": "2"}, {"wheel": "9", "pip": "2"}
        wanted = install.wanted_pins(["numpy==2.0\n"], first, now)
        assert wanted == "numpy==2.0\nwheel==1\n"

    def test_only_what_nobody_names_is_removed(self):
        installed = ["numpy", "typing-extensions", "pip", "left-over"]
        wanted = "numpy==2.0\nTyping.Extensions==4.0\n"
        assert install.extraneous(installed, wanted, baseline=["pip"]) == ["left-over"]


class TestLocks:
    """What happens to an environment, with an installer that only takes note."""

    class Notes:
        def __init__(self):
            self.done = []

        def bring_to(self, wanted, what):
            self.done.append(what)

        def remove(self, names):
            self.done.append(names)

    @pytest.fixture
    def apply(self, environment, tmp_path):
        (tmp_path / "cpu.lock").write_text("numpy==2.0\n")

        def apply():
            notes = self.Notes()
            install.apply_locks(install.probe(environment), notes, tmp_path, ["cpu"])
            return notes.done

        return apply

    def test_nothing_is_done_twice(self, apply, tmp_path):
        """asv installs at every commit, and most commits change no lock."""
        assert apply() == ["cpu.lock"]
        assert apply() == []
        (tmp_path / "cpu.lock").write_text("numpy==2.1\n")
        assert apply() == ["cpu.lock"]

    def test_a_package_from_elsewhere_is_noticed_and_removed_first(self, apply, environment):
        """A renamed package, oss-harmony since vLLM 0.31, has the files of the old one."""
        add_distribution(environment, "before", "1")
        apply()
        add_distribution(environment, "drift", "1")
        assert apply() == [["drift"], "cpu.lock"]

    def test_a_commit_without_a_lock_is_distinguished(self, apply, tmp_path):
        (tmp_path / "cpu.lock").unlink()
        with pytest.raises(install.InstallError, match=r"carries no requirements/cpu\.lock"):
            apply()


class TestHost:
    """On a GPU host, ASV_PYTHONPATH lends the environment a vLLM that no lock may touch."""

    @pytest.mark.parametrize("variable", ["PYTHONPATH", "ASV_PYTHONPATH"])
    def test_a_vllm_from_outside_is_the_hosts(self, environment, tmp_path, monkeypatch, variable):
        (tmp_path / "host" / "vllm").mkdir(parents=True)
        (tmp_path / "host" / "vllm" / "__init__.py").touch()
        monkeypatch.setenv(variable, str(tmp_path / "host"))
        assert install.probe(environment).host_provides

    def test_its_own_vllm_is_not(self, environment, monkeypatch):
        for variable in ("PYTHONPATH", "ASV_PYTHONPATH"):
            monkeypatch.delenv(variable, raising=False)
        assert not install.probe(environment).host_provides
        (site_packages(environment) / "vllm.py").touch()
        assert not install.probe(environment).host_provides


class TestErrors:
    """One line, an exit status, no traceback: asv shows it in the middle of its own output."""

    def run(self, *arguments):
        command = [sys.executable, REQUIREMENTS / "install.py", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    def test_no_interpreter(self, tmp_path):
        done = self.run("--python", tmp_path / "python", "--locks", tmp_path)
        assert done.returncode == 1
        assert done.stderr == f"error: no Python at {tmp_path / 'python'}: create the environment first\n"

    def test_no_lock(self, environment, tmp_path, monkeypatch):
        monkeypatch.delenv("ASV_PYTHONPATH", raising=False)
        monkeypatch.delenv("PYTHONPATH", raising=False)
        done = self.run("--python", environment, "--locks", tmp_path, "--flavour", "cpu")
        assert done.returncode == 1
        assert done.stderr.startswith("error: this commit carries no requirements/cpu.lock")
        assert done.stderr.count("\n") == 1

    def test_an_installers_complaint_is_squeezed_into_a_line(self):
        said = "Resolving\n  × No solution found:\n  ╰─▶ Because there is no a==1\n      it cannot be.\n"
        assert install.first_error(said) == "No solution found: Because there is no a==1 it cannot be."
        assert install.first_error("fine\nERROR: no such wheel\n[notice] new pip\n") == "no such wheel"
        assert len(install.first_error("error: " + "x" * 1000)) == 400


class TestLockFiles:
    """The committed locks themselves."""

    @pytest.mark.parametrize("name", LOCKS)
    def test_the_lock_follows_its_in_file(self, name):
        """A .in file that was changed without `make lock` would measure the old versions."""
        pins = install.read_pins((REQUIREMENTS / f"{name}.lock").read_text())
        for line in (REQUIREMENTS / f"{name}.in").read_text().splitlines():
            requirement = line.partition("#")[0].strip()
            if requirement:
                package, _, version = requirement.partition("==")
                assert package in pins
                assert not version or pins[package] == requirement

    @pytest.mark.parametrize("name", LOCKS)
    def test_the_lock_names_no_machine(self, name):
        lines = (REQUIREMENTS / f"{name}.lock").read_text().splitlines()
        assert [line for line in lines if line.startswith("-") or "://" in line or " @ " in line] == []

    def test_the_cpu_lock_has_torchs_cpu_build_and_nothing_that_breaks_beside_it(self):
        pins = install.read_pins((REQUIREMENTS / "cpu.lock").read_text())
        assert pins["torch"].endswith("+cpu")
        assert not pins.keys() & {"torchvision", "torchaudio", "torchcodec"}

    def test_the_tools_agree_with_the_cpu_lock(self):
        """.venv holds both: a package can be there in one version only."""
        cpu = install.read_pins((REQUIREMENTS / "cpu.lock").read_text())
        tools = install.read_pins((REQUIREMENTS / "tools.lock").read_text())
        shared = cpu.keys() & tools.keys()
        assert {name: tools[name].split(" ;")[0] for name in shared} == {name: cpu[name] for name in shared}
