"""history/index.py: which releases there are, since when, and which of them a range means."""

import io
import json
import os
import re
import urllib.error
from email.message import Message

import pytest
from ledgers import git, write_wheel
from rollout_bench.errors import UsageError
from rollout_bench.history import index
from rollout_bench.history.index import NoRelease, Release, Unreachable, commits_of, releases_of, within

SIMPLE = {
    "files": [
        {"filename": "ray-2.10.0.tar.gz", "url": "u", "upload-time": "2024-03-02T00:00:00Z"},
        {"filename": "ray-2.10.0-py3-none-any.whl", "url": "u", "upload-time": "2024-03-01T00:00:00Z"},
        {"filename": "ray-2.9.0-py3-none-any.whl", "url": "u", "upload-time": "2024-01-02T00:00:00.5Z"},
        {"filename": "ray-2.11.0rc1-py3-none-any.whl", "url": "u", "upload-time": "2024-04-01T00:00:00Z"},
        {"filename": "ray-2.12.0-py3-none-any.whl", "url": "u", "upload-time": "2024-05-01T00:00:00Z",
         "yanked": "broken"},
        {"filename": "ray.exe", "url": "u", "upload-time": "2024-05-01T00:00:00Z"},
    ]
}  # fmt: skip


@pytest.fixture
def answers(monkeypatch):
    """What an index answers to any request: JSON, or an error."""

    def answer(content):
        def urlopen(_request, timeout):
            if isinstance(content, Exception):
                raise content
            answered = io.BytesIO((content if isinstance(content, str) else json.dumps(content)).encode())
            answered.headers = Message()
            kind = "text/html" if isinstance(content, str) else "application/vnd.pypi.simple.v1+json"
            answered.headers["Content-Type"] = kind
            answered.headers["Last-Modified"] = "Fri, 01 Mar 2024 00:00:00 GMT"
            return answered

        monkeypatch.setattr("urllib.request.urlopen", urlopen)

    return answer


@pytest.mark.parametrize(
    ("pre", "names"), [(False, ["2.9.0", "2.10.0"]), (True, ["2.9.0", "2.10.0", "2.11.0rc1"])]
)
def test_releases_are_in_the_order_of_versions_and_dated_by_their_first_file(answers, pre, names):
    """And what was withdrawn is none."""
    answers(SIMPLE)
    found = releases_of("ray", None, pre)
    assert [one.name for one in found] == names
    assert found[1] == Release("2.10.0", 1709251200, "ray==2.10.0", "ray 2.10.0")
    assert index.from_json(index.as_json(found)) == found


def test_a_page_of_links_is_an_index_whose_files_have_the_dates_of_their_server(answers):
    answers(
        "<a href=\"../../ray-3.0.0.dev0%2Bg1-py3-none-any.whl#sha256=1\">r</a> <a class=x href='/up'>up</a>"
    )
    place = "https://wheels.example/nightly"
    (found,) = releases_of("ray", place, True)
    pinned = "ray @ https://wheels.example/ray-3.0.0.dev0%2Bg1-py3-none-any.whl"
    assert found == Release("3.0.0.dev0+g1", 1709251200, pinned, "ray 3.0.0.dev0+g1")


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        (urllib.error.HTTPError("u", 404, "gone", Message(), None), NoRelease, "unknown package 'ray'"),
        (urllib.error.HTTPError("u", 503, "busy", Message(), None), Unreachable, "answers 503 busy"),
        (urllib.error.URLError("no route"), Unreachable, "cannot be reached"),
        ({"files": []}, NoRelease, "has no release of 'ray'"),
    ],
)
def test_an_index_without_an_answer_is_told_from_one_that_does_not_know_the_package(
    answers, content, kind, says
):
    answers(content)
    with pytest.raises(UsageError, match=says) as raised:
        releases_of("ray", index.PYPI, False)
    assert raised.type is kind


def test_a_folder_in_the_home_of_nobody_is_no_index():
    with pytest.raises(UsageError, match="--index is '~nouser/wheels'; give the address"):
        releases_of("ray", "~nouser/wheels", False)


def test_a_folder_of_wheels_is_an_index_and_pins_their_address(tmp_path):
    for version in ("0.33.0.dev2+g2222222", "0.33.0.dev1+g1111111"):
        os.utime(write_wheel(tmp_path / "wheels", version), (1_700_000_000, 1_700_000_000))
    write_wheel(tmp_path / "wheels", "1.0", "other")
    first, second = releases_of("vllm", str(tmp_path / "wheels"), pre=True)
    place = (tmp_path / "wheels").as_uri()
    pinned = f"vllm @ {place}/vllm-0.33.0.dev1%2Bg1111111-py3-none-any.whl"
    assert first == Release("0.33.0.dev1+g1111111", 1_700_000_000, pinned, "vllm 0.33.0.dev1+g1111111")
    assert second.name == "0.33.0.dev2+g2222222"


@pytest.mark.parametrize("place", ["wheels", "by-commit/{commit}"])
def test_commits_are_those_of_the_source_and_have_the_wheel_that_was_built_of_them(tmp_path, place):
    source = tmp_path / "source"
    source.mkdir()
    git(source, "init", "-q", "-b", "main")
    hashes = []
    for number in range(3):
        git(source, "commit", "-q", "--allow-empty", "-m", f"change {number}")
        hashes.append(git(source, "rev-parse", "HEAD"))
    for commit in hashes[1:2]:
        folder = tmp_path / place.replace("{commit}", commit)
        folder.parent.mkdir(exist_ok=True)
        write_wheel(folder, f"0.1.dev1+g{commit[:7]}")
        if "{" not in place:
            write_wheel(folder, "0.1.dev9+gfffffff")
    # an address that is neither a folder nor a page has no wheel of the others
    found = commits_of(
        "vllm", source, "HEAD~2..HEAD", str(tmp_path / place) if "{" not in place else f"{tmp_path}/{place}"
    )
    assert [one.subject for one in found] == [f"vllm {one[:8]} change {n}" for n, one in enumerate(hashes)][
        1:
    ]
    assert hashes[1][:7] in found[0].requirement
    assert found[1].requirement == ""
    with pytest.raises(UsageError, match=r"unknown range 'v9\.\.'"):
        commits_of("vllm", source, "v9..", str(tmp_path))


@pytest.mark.parametrize(("folder", "says"), [("none", "there is no such folder"), ("", "fatal: not a git")])
def test_a_source_that_is_no_checkout_is_named_with_what_to_give(folder, says, tmp_path):
    wanted = f"--source is '{tmp_path / folder}'; give a git checkout of vllm: {says}"
    with pytest.raises(UsageError, match=re.escape(wanted)):
        commits_of("vllm", tmp_path / folder, "v9..", str(tmp_path))


KNOWN = [Release(name, 0, "", "") for name in ("0.19.1", "0.20.0", "0.20.2", "0.27.0", "0.27.1")]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (None, ["0.20.0", "0.20.2", "0.27.0", "0.27.1"]),
        ("0.20..0.27", ["0.20.0", "0.20.2", "0.27.0"]),
        ("..0.20.1", ["0.20.0"]),
        ("0.27.1", ["0.27.1"]),
    ],
)
def test_a_range_has_both_its_ends_and_begins_with_what_is_supported(given, names):
    assert [one.name for one in within(KNOWN, given, "0.20")] == names


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("0.19..0.20.0", r"older than is supported: 0\.19\.1; give --range 0\.20\.\. or"),
        ("0.99.0", "unknown release '0.99.0'; the newest are 0.19.1, 0.20.0, 0.20.2, 0.27.0, 0.27.1"),
        ("0.28..", r"no release is in the range '0\.28\.\.'; the newest are"),
        ("new..", r"--range is 'new\.\.'; give such as 0\.20\.\. or"),
    ],
)
def test_a_range_that_is_none_is_said_in_a_line(given, says):
    with pytest.raises(UsageError, match=says):
        within(KNOWN, given, "0.20")
