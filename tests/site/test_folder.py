"""site/folder.py: publish replaces what it wrote, and touches nothing else, whatever the folder holds."""

import json
import shutil

import pytest
from rollout_bench.cli import main as cli
from rollout_bench.errors import UsageError
from rollout_bench.site.folder import MARK, check, put
from rollout_bench.site.publish import publish

SITE = {"index.html": "ours", "data/front.js": "RP.front = {};", "asv/index.html": "asv"}


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def held(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "html"
    put(write(tmp_path / "first", SITE), folder)
    return folder


@pytest.mark.parametrize("name", ["/proc/x", "/proc/x/html", "file/html"])
def test_a_folder_that_cannot_be_written_is_refused_in_a_line(name, tmp_path, monkeypatch, capsys):
    """The kernel lets nobody make a file in /proc, root included."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    (tmp_path / "results").mkdir()
    assert cli.main(["publish", "--folder", name]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"rollout-perf: the site cannot be written to {tmp_path / name}: ")
    assert err.count("\n") == 1


def test_a_site_that_may_not_be_replaced_is_refused_before_the_work(tmp_path, monkeypatch):
    def refuse(*_arguments, **_keywords):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "html").mkdir()
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(UsageError, match=r"the site cannot be written to .*html: Permission denied"):
        publish(tmp_path / "results", None, say=print, folder=tmp_path / "html")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"index.html": "mine", "thesis.txt": "years"}, "is not empty and has no"),
        ({"thesis.txt": "years"}, "is not empty and has no"),
        ({".git": "gitdir: elsewhere", "CNAME": "example.org", "index.html": "mine"}, "is not empty and has"),
        ({"checkout/asv.conf.json": "{}", "index.html": "mine"}, "is not empty and has no"),
        ({"index.html": "mine", MARK: "{}"}, "is not empty and has no"),
        ({"index.html": "mine", MARK: "{"}, "is not empty and has no"),
        (SITE, "is a site of an older rollout-perf, which left no"),
    ],
)
def test_publish_refuses_what_it_did_not_write(files, said, tmp_path):
    folder = write(tmp_path / "precious", files)
    (tmp_path / "results").mkdir()
    with pytest.raises(UsageError, match=said) as refused:
        publish(tmp_path / "results", None, say=print, folder=folder)
    assert "\n" not in str(refused.value)
    assert held(folder) == files


def test_a_site_is_replaced_and_what_others_put_there_stays(site, tmp_path):
    others = {".git": "gitdir: elsewhere", "CNAME": "example.org", ".nojekyll": "", "data/mine.txt": "mine"}
    write(site, others)
    new = {"index.html": "new", "change-points/a.html": "new"}
    put(write(tmp_path / "second", new), site)
    mark = json.loads((site / MARK).read_text())
    assert (mark["project"], mark["files"]) == ("rollout-perf", sorted(new))
    assert held(site) == others | new | {MARK: (site / MARK).read_text()}
    assert not (site / "asv").exists()  # a folder that held our own files alone


def test_where_no_site_is_or_an_empty_folder_one_may_go(tmp_path):
    check(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    put(write(tmp_path / "first", SITE), tmp_path / "empty")
    assert {*held(tmp_path / "empty")} == {*SITE, MARK}
    write(tmp_path, {"file": ""})
    with pytest.raises(UsageError, match="is no folder"):
        check(tmp_path / "file")


@pytest.mark.parametrize("other", ["extra.html", "extra.html/folder", "extra"])
def test_a_file_of_somebody_elses_is_not_overwritten(other, site, tmp_path):
    write(site, {other: "mine"})
    before = held(site)
    new = {"index.html": "new", "extra.html": "new", "extra/a.html": "new"}
    with pytest.raises(UsageError, match="that publish did not write: extra"):
        put(write(tmp_path / "second", new), site)
    assert held(site) == before


def test_a_mark_does_not_reach_out_of_its_folder(site, tmp_path):
    """It may have come with a repository; and a folder of the site may have become a link."""
    outside = write(tmp_path / "outside", {"front.js": "mine", "thesis.txt": "years"})
    mark = json.loads((site / MARK).read_text())
    mark["files"] += ["../outside/thesis.txt", str(outside / "thesis.txt"), "", ".", 5]
    (site / MARK).write_text(json.dumps(mark))
    shutil.rmtree(site / "data")
    (site / "data").symlink_to(outside)
    put(write(tmp_path / "second", {"index.html": "new"}), site)
    assert held(outside) == {"front.js": "mine", "thesis.txt": "years"}
    with pytest.raises(UsageError, match=r"did not write: data/front\.js"):
        put(write(tmp_path / "third", SITE), site)
    assert held(outside) == {"front.js": "mine", "thesis.txt": "years"}


@pytest.mark.parametrize("moves", [1, 2, 3])
def test_one_that_was_broken_off_is_put_again(moves, site, tmp_path, monkeypatch):
    write(site, {"CNAME": "example.org"})
    move, done = shutil.move, []

    def break_off(*paths):
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(paths)
        move(*paths)

    new = {"a.html": "new", "data/new.js": "new", "index.html": "new"}
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "move", break_off)
        with pytest.raises(KeyboardInterrupt):
            put(write(tmp_path / "second", new), site)
    (site / "index.html").unlink()
    put(write(tmp_path / "third", new), site)
    assert {*held(site)} == {*new, "CNAME", MARK}
