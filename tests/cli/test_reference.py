"""docs/reference says what the code says."""

import argparse
from pathlib import Path

import pytest
from rollout_bench.cli import reference

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", reference.PAGES)
def test_the_reference_is_current(page):
    assert (ROOT / reference.FOLDER / page).read_text() == reference.PAGES[page](), "run `make reference`"


@pytest.mark.parametrize(
    ("option", "given", "row"),
    [
        ("--a", {"default": 3, "help": "x (default: 3)"}, ["`--a A`", "x", "3"]),
        ("--a", {"default": 3, "help": "x"}, ["`--a A`", "x", "3"]),
        ("--a", {"help": "default: y"}, ["`--a A`", "", "y"]),
        ("--a", {"action": "store_true", "help": "x"}, ["`--a`", "x", ""]),
        ("a", {"choices": ["y", "z"], "help": "x"}, ["`y|z`", "x", "required"]),
        (
            "--a",
            {"help": "x (default: 1, or 2), or z (4)"},
            ["`--a A`", "x (default: 1, or 2), or z (4)", ""],
        ),
    ],
)
def test_an_option_has_its_default(option, given, row):
    parser = argparse.ArgumentParser()
    assert reference._option(parser.add_argument(option, **given), parser) == row


def test_what_help_leaves_out_is_left_out():
    assert argparse.SUPPRESS not in reference.command_line()


def test_every_key_of_tracked_toml_has_its_meaning():
    rows = [line for line in reference.tracked_keys().splitlines() if line.startswith("| `")]
    assert len(rows) > 20
    assert [row for row in rows if not row.split("|")[3].strip()] == []
