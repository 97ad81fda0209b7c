"""asv_process.py: what plain asv keeps from its setup_cache is found, and what happens there ends nothing."""

import fcntl
import json
import os
import platform
import pty
import subprocess
import sys
import termios

import pytest
from rollout_bench.measure import asv_process

ASV = f"""#!{sys.executable}
import subprocess, sys
code = "from rollout_bench.measure import asv_process as a; a.tell('a line'); print(a.machine_name())"
# As asv does it: in a process group of its own, and what it says is swallowed.
done = subprocess.run([sys.executable, "-c", code], process_group=0, capture_output=True, text=True)
sys.exit(done.stderr) if done.returncode else print(done.stdout, end="")
"""


@pytest.fixture
def asv(tmp_path, monkeypatch):
    """A program called asv, of which each setup_cache writes a line and tells the machine's name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    program = tmp_path / "asv"
    program.write_text(ASV)
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("words", "known", "name"),
    [
        (["run", "HEAD^!", "--machine", "box"], ["other"], "box"),
        (["run", "--machine=box", "ALL"], [], "box"),
        (["run", "-m", "box"], [], "box"),
        (["run", "-em", "box", "HEAD^!"], [], "box"),
        (["run", "-qmbox"], [], "box"),
        (["-v", "run", "-kem", "box", "-s", "5"], ["other"], "box"),
        (["run", "-npvm", "box", "-qbNano", "-ej4", "-E", "existing"], [], "box"),
        (["run", "-es5", "-j", "-m", "box"], [], "box"),
        (["run", "-b", "continuous", "-es", "5", "-m", "box"], [], "box"),
        (["continuous", "-qsem", "box", "-f1.1", "main", "HEAD"], [], "box"),
        (["find", "-iem", "box", "v1..v2", "b"], [], "box"),
        (["run", "-bm", "box"], ["other"], "other"),
        (["run", "-ex", "-m", "box"], ["other"], "other"),
        (["run", "ALL"], ["other"], "other"),
        (["run", "ALL"], ["other", "third"], platform.node()),
        (["run", "ALL"], ["other", platform.node()], platform.node()),
        (["run", "ALL"], [], platform.node()),
    ],
)
def test_records_go_where_asv_puts_its_results(words, known, name, tmp_path, monkeypatch):
    """They went to the host's name, whatever --machine said."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(asv_process, "find_asv", lambda: (1, words))
    if known:
        machines = {one: {"machine": one} for one in known}
        (tmp_path / ".asv-machine.json").write_text(json.dumps(machines | {"version": 1}))
    assert asv_process.machine_name() == name


def test_asv_is_found_and_a_line_reaches_whoever_reads_its_errors(asv, tmp_path):
    words = [sys.executable, "-u", asv, "run", "HEAD^!", "--machine", "box"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("box\n", " a line\n")
    log = tmp_path / "log"
    for mode, found in (("a", "before\n a line\n"), ("w", "")):
        log.write_text("before\n")
        with log.open(mode) as file:
            subprocess.run([asv], stdout=subprocess.DEVNULL, stderr=file, check=True)
        assert log.read_text() == found  # asv would write over it where it does not write at the end


def test_a_full_pipe_delays_nothing(asv):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while os.write(writer, b"x" * 65536):
            pass
    except BlockingIOError:
        os.set_blocking(writer, True)
    subprocess.run([asv], stdout=subprocess.DEVNULL, stderr=writer, check=True, timeout=20)
    os.close(reader)
    os.close(writer)


def test_a_terminal_that_stops_who_writes_from_the_background_stops_nothing(asv):
    """`stty tostop`: a setup_cache is in the background, and asv would wait for it for hours."""
    master, slave = pty.openpty()
    modes = termios.tcgetattr(slave)
    modes[3] |= termios.TOSTOP
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    subprocess.run(
        [asv],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        check=True,
        timeout=20,
    )
    assert os.read(master, 1000).decode() == f" a line\r\n{platform.node()}\r\n"
    os.close(master)
    os.close(slave)


def test_without_asv_nothing_is_written_and_the_host_has_the_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    program = tmp_path / "pytest"
    program.write_text(ASV)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{platform.node()}\n", "")
