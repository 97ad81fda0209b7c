"""What a campaign sends to its nodes: this checkout as git has it, with its uncommitted changes.

A node needs no checkout of its own: what is measured, what measures and what installs all come from here.
"""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import git
from ..history.ledger import Ledger, home
from ..history.results import Commit


@dataclass(frozen=True)
class Repository:
    """A repository, for `node` to unpack."""

    head: str
    tree: str
    """The commit that the files are of: HEAD, or one of what is changed."""
    branch: str
    pack: bytes
    shallow: str | None
    ledger: tuple[str, str, str] | None = None
    """Its name, package and flavour."""
    bundle: bytes = b""

    @property
    def key(self) -> str:
        """Another one for another repository or other files."""
        return f"{self.head} {self.tree} {hashlib.sha256(self.bundle).hexdigest()[:12]}"


def harness() -> bytes:
    """The harness, as a zip from which Python imports it."""
    package = Path(__file__).resolve().parents[1]
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(package.rglob("*.py")):
            # Dated alike, so that the same files are the same bytes.
            entry = zipfile.ZipInfo(f"{package.name}/{file.relative_to(package)}")
            archive.writestr(entry, file.read_bytes())
    return written.getvalue()


def repository(root: Path, branch: str, commits: Sequence[Commit]) -> Repository:
    """The repository of a checkout, with these commits. Raises UsageError where git does not give it."""
    top = home(root)
    head = git.answer(top, "rev-parse", "HEAD") or ""
    # Of what is changed git makes a commit that no branch has; nothing where nothing is.
    who = ("-c", "user.name=rollout-perf", "-c", "user.email=rollout-perf@localhost")
    tree = git.answer(top, *who, "stash", "create") or head
    own = [commit.hash for commit in commits] if top == root.resolve() else []
    wanted = "".join(f"{one}\n" for one in dict.fromkeys([head, tree, *own]))
    packed = git.change(top, "pack-objects", "--revs", "--stdout", "--quiet", data=wanted.encode())
    # Relative to where git runs, which is not here.
    shallow = top / (git.answer(top, "rev-parse", "--git-path", "shallow") or "shallow")
    return Repository(head, tree, branch, packed, shallow.read_text() if shallow.is_file() else None)


def with_ledger(sent: Repository, ledger: Ledger) -> Repository:
    """A repository and a ledger in it."""
    bundle = (ledger.results / "ledger.bundle").read_bytes()
    return replace(sent, ledger=(ledger.folder.name, ledger.package, ledger.flavour), bundle=bundle)
