"""A cluster that cannot be used is refused in a line, within its time."""

import json
import socket
import time
from importlib.metadata import version

import pytest
from rollout_bench.campaign import cluster
from rollout_bench.errors import UsageError


@pytest.fixture
def silent():
    """The address of something that accepts, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_an_address_that_answers_nothing_is_given_up(silent, monkeypatch):
    monkeypatch.setattr(cluster, "_ASK", "import time; time.sleep(60)")
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
    begin = time.monotonic()
    with pytest.raises(UsageError, match=f"no cluster answers at {silent}: it is no Ray cluster, or has not"):
        cluster.check(silent)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        (
            {"ray_version": "2.9.0", "python_version": "3.11.7"},
            "has Ray 2.9.0 and Python 3.11.7, and here are",
        ),
        ({"ray_version": version("ray"), "python_version": "3.8.1"}, "and Python 3.8.1, and here are Ray"),
    ],
)
def test_another_ray_or_python_is_refused(theirs, says, silent, monkeypatch):
    monkeypatch.setattr(cluster, "_ASK", f"print({json.dumps(theirs)!r})")
    with pytest.raises(UsageError) as raised:
        cluster.check(silent)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("ray://head:10001", "a Ray client's; a campaign runs on a node of the cluster"),
        ("head", "give HOST:PORT of the cluster's head, or auto"),
        ("127.0.0.1:1", "no cluster answers at 127.0.0.1:1"),
    ],
)
def test_an_address_that_is_none_says_what_is(address, says):
    with pytest.raises(UsageError) as raised:
        cluster.check(address)
    assert says in str(raised.value)


def test_without_ray_a_line_says_so(monkeypatch):
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="Ray is not installed here"):
        cluster.check("127.0.0.1:1")
