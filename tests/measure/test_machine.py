"""machine.py: which GPUs a process may use, with a fake nvidia-smi in the place of the driver's."""

import time
from pathlib import Path

import pytest
from rollout_bench.cli.main import main
from rollout_bench.measure import machine

ANSWER = """\
case $1 in
-L) echo 'GPU 0: NVIDIA A100 (UUID: GPU-aa11)'
    echo '  MIG 3g.20gb     Device  0: (UUID: MIG-c0ffee)'
    echo '  MIG 1g.5gb      Device  1: (UUID: MIG-decaf)'
    echo 'GPU 1: NVIDIA H100 (UUID: GPU-aa22)';;
--query-gpu=driver_version) printf '580.1\\n580.1\\n580.1\\n';;
*) echo 'GPU-aa11, NVIDIA A100, 580.1, 40960 MiB'
   echo 'GPU-aa22, NVIDIA H100, 580.1, 81559 MiB'
   echo 'GPU-bb33, NVIDIA H100, 580.1, 81559 MiB';;
esac
"""

ALL = ["A100", "H100", "H100"]


@pytest.fixture(autouse=True)
def driver(tmp_path, monkeypatch):
    """Have an nvidia-smi that does what a text of sh says, or none; and no device but those in `devices`."""

    def installed(text: str | None) -> None:
        program = tmp_path / "bin" / "nvidia-smi"
        program.unlink(missing_ok=True)
        if text is not None:
            program.write_text(f"#!/bin/sh\n{text}")
            program.chmod(0o755)
        machine._asked.cache_clear()

    for name in ("bin", "devices"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "_DEVICES", tmp_path / "devices")
    yield installed
    machine._asked.cache_clear()


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        (None, ALL),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1", ["H100"]),
        ("2,0", ["H100", "A100"]),
        (" 1, 0", ["H100", "A100"]),
        ("0,7,1", ["A100"]),
        ("0,-1,1", ["A100"]),
        ("0,0", []),
        ("1gpu2", ["H100"]),
        ("GPU-bb33", ["H100"]),
        ("GPU-aa22,GPU-aa11", ["H100", "A100"]),
        ("GPU-b", ["H100"]),
        ("GPU-aa", []),  # of two
        ("GPU-aa11,GPU-cc,GPU-bb33", ["A100"]),
        ("GPU-aa11,0", ["A100"]),
        ("0,GPU-bb33", ["A100"]),
        ("MIG-c0ffee", ["A100 MIG 3g.20gb"]),
        ("MIG-decaf,MIG-c0ffee", ["A100 MIG 1g.5gb"]),
        ("MIG-beef", []),
    ],
)
def test_the_gpus_are_those_that_cuda_would_give_this_process(listed, names, driver, monkeypatch):
    """A record of one GPU said two; what CUDA makes of the variable is in its programming guide."""
    driver(ANSWER)
    if listed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    found = machine.facts()["gpus"]
    assert [gpu["name"].removeprefix("NVIDIA ") for gpu in found] == names
    assert {gpu["driver"] for gpu in found} <= {"580.1"}


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        (None, ["0", "1", "2"]),
        ("", []),
        ("2, 0", ["2", "0"]),
        ("2,7,0", ["2"]),
        ("GPU-bb,GPU-aa11,GPU-aa", ["GPU-bb", "GPU-aa11"]),
    ],
)
def test_gpus_are_named_as_the_variable_does_or_would(listed, names, driver, monkeypatch):
    driver(ANSWER)
    if listed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert machine.gpu_names() == names


def test_an_nvidia_smi_that_hangs_holds_nothing_up(driver, monkeypatch, capsys):
    """What is unknown is neither none nor all: commands refuse, and a record says why."""
    monkeypatch.setattr(machine, "_DEADLINE_SECONDS", 0.2)
    driver("/bin/sleep 60")
    begin = time.monotonic()
    assert main(["measure", "--path", "zmq"]) == 2
    assert machine.facts()["gpus"] is None
    assert "nvidia-smi has not answered within 0.2 s" in machine.facts()["gpus_unknown"]
    assert time.monotonic() - begin < 10  # loading the command counts
    assert "GPUs of this machine are unknown: nvidia-smi" in capsys.readouterr().err
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.facts()["gpus"] == []


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (None, "nvidia0 is there, and nvidia-smi is not installed"),
        ("echo 'version mismatch'; exit 18", "nvidia-smi ended with exit code 18: version mismatch"),
    ],
)
def test_without_an_answer_there_is_no_gpu_where_no_device_is(program, reason, driver, tmp_path: Path):
    driver(program)
    assert machine.gpus() == []
    (tmp_path / "devices" / "nvidia0").touch()
    driver(program)
    with pytest.raises(machine.GpusUnknown, match=reason):
        machine.gpus()
