"""asv.conf.json holds only keys that asv knows, and commands that asv can carry out.

asv takes any key in silence: a typo would leave a setting at its default, unnoticed.
"""

import re
import shlex
import string
import tomllib
from pathlib import Path

import asv.util
import pytest
from asv.config import Config

ROOT = Path(__file__).resolve().parents[2]


def load_conf() -> dict:
    """The file as asv itself reads it, comments allowed."""
    return asv.util.load_json(str(ROOT / "asv.conf.json"), Config.api_version, js_comments=True)


def known_keys() -> set[str]:
    """Keys with a default in asv, and those that its own template shows, commented out or not."""
    template = (Path(asv.__file__).parent / "template" / "asv.conf.json").read_text()
    return set(vars(Config())) | set(re.findall(r'^ {4}(?://\s?)?"(\w+)":', template, re.MULTILINE))


def unknown_keys(conf: dict) -> set[str]:
    return set(conf) - known_keys()


def test_every_key_is_known_to_asv():
    assert unknown_keys(load_conf()) == set()


@pytest.mark.parametrize("typo", ["lauch_method", "build_cash_size", "environment_types", "install_comand"])
def test_a_mistyped_key_is_caught(typo):
    assert unknown_keys({**load_conf(), typo: ""}) == {typo}


def test_commands_use_only_what_asv_replaces():
    """asv fails at the first commit, minutes into a run, over a placeholder that it does not know."""
    replaced = {"build_dir", "build_cache_dir", "conf_dir", "env_dir", "wheel_file"}
    conf = load_conf()
    for command in conf["build_command"] + conf["install_command"]:
        assert {field for _, field, _, _ in string.Formatter().parse(command) if field} <= replaced


def test_install_command_runs_the_script_of_this_checkout():
    """A commit under measurement must not bring the script that applies its locks."""
    [command] = load_conf()["install_command"]
    [script] = [word for word in shlex.split(command) if word.endswith(".py")]
    assert script.startswith("{conf_dir}/")
    assert Path(script.format(conf_dir=ROOT)).is_file()


def test_asv_uninstalls_what_setup_py_names():
    """Left behind, the last commit's package could be measured under the next one's name."""
    [name] = re.findall(r'^    name="(.+)",$', (ROOT / "setup.py").read_text(), re.MULTILINE)
    assert load_conf()["project"].replace("_", "-") == name


def test_asv_can_read_the_build_requirement():
    """asv parses build-system.requires by a regular expression of its own, and installs what it made out."""
    for requirement in tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]:
        parsed = asv.util.ParsedPipDeclaration(f"{requirement} ")
        assert parsed.pkgname + (parsed.specification or "") == requirement
