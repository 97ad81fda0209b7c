"""Which releases of a package there are, and since when: of a package index, a page or a folder of wheels.

    releases_of("ray", PYPI, pre=False)
    commits_of("vllm", Path("~/vllm"), "v0.31.0..main", "https://wheels.vllm.ai/{commit}")

An index is asked for JSON (PEP 691 and 700), which says when each file was uploaded; of others the date is
that of the file. Raises UsageError where there is no such package, and Unreachable where no index answers.
"""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urljoin

from packaging.tags import sys_tags
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from .. import git
from ..errors import UsageError

PYPI = "https://pypi.org/simple"
_SECONDS = 30.0
_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"


class Unreachable(UsageError):
    """An index that gives no answer."""


class NoRelease(UsageError):
    """An index that has nothing of a package."""


@dataclass(frozen=True)
class Release:
    """A release, or a commit that wheels were built of."""

    name: str
    """Its version; of a commit the beginning of its hash."""
    published: int
    """Seconds since 1970."""
    requirement: str
    """What uv resolves a lock for; empty where there is no wheel."""
    subject: str


class _File(NamedTuple):
    version: Version
    url: str
    published: int | None
    wheel: str
    """Its name, where it is a wheel that this machine can install."""


def configured_index() -> str:
    """The index that uv and pip take packages from on this machine."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        if os.environ.get(name):
            return re.sub(r"^[\w.-]+=", "", os.environ[name])  # uv takes NAME=URL too
    asked = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(asked, capture_output=True, text=True).stdout
    found = re.findall(r"^\S*\.index-url='(.+)'$", listed, re.MULTILINE)
    return found[-1] if found else PYPI


def releases_of(package: str, index: str | None, pre: bool) -> list[Release]:
    """Every release that is not withdrawn, by version; those before a release where `pre` asks for them.

    Of an `index` that is named the wheel's address is pinned, since whoever installs asks the configured one.
    """
    found: dict[Version, list[_File]] = {}
    for file in _files(package, index or configured_index()):
        if pre or not file.version.is_prerelease:
            found.setdefault(file.version, []).append(file)
    releases = []
    for version, files in sorted(found.items()):
        wheel = next((file.url for file in files if file.wheel), None)
        pinned = f"{package}=={version}" if index is None else f"{package} @ {wheel}" if wheel else ""
        published = min(_published(file) for file in files)
        releases.append(Release(str(version), published, pinned, f"{package} {version}"))
    return releases


def commits_of(package: str, source: Path, given: str | None, index: str) -> list[Release]:
    """The commits of a range in a checkout of the package, oldest first, each with the wheel built of it.

    `index` has wheels whose version names the commit (`+g1234567`), or a place of its own for each {commit}.
    """
    options, revisions = git.split_range((given or "HEAD~2..HEAD").split())
    logged = git.log(source, "--reverse", *options, given=revisions)
    if logged is None:
        if refused := git.refusal(source) if source.is_dir() else "there is no such folder":
            raise UsageError(f"--source is '{source}'; give a git checkout of {package}: {refused}")
        raise UsageError(f"unknown range {given!r} in {source}: give what `git rev-list` takes there")
    built = [] if "{commit}" in index else _files(package, index)
    releases = []
    for commit in logged:
        wheels = _files_at(package, index.replace("{commit}", commit.hash)) if "{commit}" in index else built
        found = [
            file
            for file in wheels
            if file.wheel and ("{commit}" in index or _is_of(file.version, commit.hash))
        ]
        pinned = f"{package} @ {found[0].url}" if found else ""
        subject = f"{package} {commit.hash[:8]} {commit.subject}"
        releases.append(Release(commit.hash[:8], commit.time, pinned, subject))
    return releases


def _files_at(package: str, index: str) -> list[_File]:
    """Files of a commit's own place; none where it has none."""
    try:
        return _files(package, index)
    except Unreachable:
        raise
    except UsageError:
        return []


def _is_of(version: Version, commit: str) -> bool:
    built = re.search(r"\bg([0-9a-f]{7,40})\b", version.local or "")
    return built is not None and commit.startswith(built[1])


def _files(package: str, index: str) -> list[_File]:
    folder = Path(os.path.expanduser(index.removeprefix("file://")))
    if folder.is_dir():
        links = {file.name: {"url": file.resolve().as_uri()} for file in sorted(folder.glob("*.whl"))}
    else:
        links = _links(package, index)
    files = [_file(package, name, facts) for name, facts in links.items()]
    found = [file for file in files if file is not None]
    if not found:
        raise NoRelease(f"{index} has no release of {package!r}")
    return found


def _links(package: str, index: str) -> dict[str, dict[str, str]]:
    """What an index has of a package: facts by name of file."""
    page = f"{index.rstrip('/')}/{package}/"
    if not index.startswith(("http://", "https://", "file://")):
        raise UsageError(f"--index is {index!r}; give the address of an index, or a folder of wheels")
    try:
        with urllib.request.urlopen(
            urllib.request.Request(page, headers={"Accept": _ACCEPT}), timeout=_SECONDS
        ) as answer:
            kind, text = answer.headers.get_content_type(), answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise NoRelease(f"unknown package {package!r}: {index} does not have it") from None
        raise Unreachable(f"{page} answers {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:
        raise Unreachable(f"{page} cannot be reached: {error}") from None
    if kind.endswith("json"):
        files = json.loads(text)["files"]
        return {
            file["filename"]: {"url": urljoin(page, file["url"]), "time": file.get("upload-time", "")}
            for file in files
            if not file.get("yanked")
        }
    addresses = [urljoin(page, link) for link in re.findall(r"""<a\b[^>]*?href=["']([^"']+)""", text)]
    return {
        unquote(url.partition("#")[0].rpartition("/")[2]): {"url": url.partition("#")[0]} for url in addresses
    }


def _file(package: str, name: str, facts: Mapping[str, str]) -> _File | None:
    """A file of an index; None where it is of another package or of another kind."""
    here = False
    try:
        if name.endswith(".whl"):
            owner, version, _build, tags = parse_wheel_filename(name)
            here = not tags.isdisjoint(_HERE)
        else:
            owner, version = parse_sdist_filename(name)
    except (InvalidVersion, ValueError):
        return None
    if owner != canonicalize_name(package):
        return None
    time = facts.get("time")
    published = int(datetime.fromisoformat(time).timestamp()) if time else None
    return _File(version, facts["url"], published, name if here else "")


_HERE = frozenset(sys_tags())


def _published(file: _File) -> int:
    """When a file was published: as the index says, else as its server or its folder does."""
    if file.published is not None:
        return file.published
    try:
        with urllib.request.urlopen(
            urllib.request.Request(file.url, method="HEAD"), timeout=_SECONDS
        ) as answer:
            return int(parsedate_to_datetime(answer.headers["Last-Modified"]).timestamp())
    except (OSError, TypeError, ValueError):
        raise Unreachable(f"when {file.url} was published is not known: its server does not say") from None


def within(releases: list[Release], given: str | None, oldest: str | None) -> list[Release]:
    """Those of a range A..B, both included and either left out, or of one version.

    Raises UsageError where the range is none, holds nothing, or begins before the `oldest` that is supported.
    """
    known = ", ".join(one.name for one in releases[-5:])
    first, dots, last = (given or f"{oldest or ''}..").partition("..")
    try:
        low, high = (Version(one) if one else None for one in (first, last if dots else first))
    except InvalidVersion:
        raise UsageError(f"--range is {given!r}; give such as 0.20.. or 0.20..0.30 or 0.30.0") from None
    if low is None and oldest is not None:
        low = Version(oldest)
    found = [
        one
        for one in releases
        if (low is None or Version(one.name) >= low) and (high is None or Version(one.name) <= high)
    ]
    if not found:
        what = f"unknown release {given!r}" if given and not dots else f"no release is in the range {given!r}"
        raise UsageError(f"{what}; the newest are {known}")
    too_old = [one.name for one in found if oldest is not None and Version(one.name) < Version(oldest)]
    if too_old:
        raise UsageError(
            f"older than is supported: {', '.join(too_old)}; give --range {oldest}.. or a later beginning"
        )
    return found


def as_json(releases: list[Release]) -> str:
    """For a file that stands in for an index that cannot be reached."""
    return json.dumps([asdict(one) for one in releases], indent=1) + "\n"


def from_json(text: str) -> list[Release]:
    """What `as_json` wrote."""
    return [Release(**one) for one in json.loads(text)]
