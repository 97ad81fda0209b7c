"""Writes what documents say of commands, of tracked.toml and of the package's door, from the code.

    python -m rollout_bench.cli.reference    # in a checkout

docs/reference/command-line.md, tracked.md and python.md are wholly made here. A test says when one is not
current.
"""

import argparse
import ast
import dataclasses
import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import rollout_perf

from ..measure.tracked import FILE, KEYS, NEEDED, WORKLOAD, WORKLOADS, Kind
from ..report.table import table
from .main import COMMANDS

FOLDER = Path("docs/reference")
MADE = "<!-- made by `make reference` from {source}: edit that and run it -->"


def command_line() -> str:
    """Every command with its options, what they take and their defaults."""
    parts = [
        "# Command line",
        MADE.format(source="bench/rollout_bench/cli"),
        "`rollout-perf COMMAND [OPTION...]`. Options can be shortened as far as they are unique.",
    ]
    for name, summary in COMMANDS.items():
        parser = argparse.ArgumentParser(prog=f"rollout-perf {name}", add_help=False)
        importlib.import_module(f".{name}", __package__).arguments(parser)
        parts += [f"## {name}", f"{summary[0].upper()}{summary[1:]}.", *_command(parser)]
    return "\n\n".join(parts) + "\n"


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    subcommands = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    shown = [one for one in parser._actions if one.help not in (None, argparse.SUPPRESS)]
    rows = [_option(one, parser) for one in shown if one not in subcommands]
    if rows:
        yield table(["option", "what", "default"], rows, markdown=True)
    for one in subcommands:
        for name, inner in one.choices.items():
            yield f"### {parser.prog.partition(' ')[2]} {name}"
            yield from _command(inner)


def _option(action: argparse.Action, parser: argparse.ArgumentParser) -> list[str]:
    name = ", ".join(action.option_strings)
    takes = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
    if action.choices is not None:
        takes = "|".join(map(str, action.choices))
    if not action.option_strings or action.nargs != 0:
        name = f"{name} {takes}".strip()
    said = parser._get_formatter()._expand_help(action)
    default = ""
    if stated := re.fullmatch(r"(?:(.*) \()?default: ([^()]*)\)?", said):
        said, default = stated[1] or "", stated[2]
    elif action.required:
        default = "required"
    elif action.default not in (None, False, [], argparse.SUPPRESS):
        default = f"{action.default}"
    return [f"`{name}`", said, default]


def tracked_keys() -> str:
    """The keys of tracked.toml."""
    parts = [
        f"# {FILE}",
        MADE.format(source="bench/rollout_bench/measure/tracked.py"),
        "[What](../methodology.md#what-is-tracked) asv, `rollout-perf track` and `gate --tracked` measure; "
        "how to track [your model](../how-to.md#measure-your-model) has an example. "
        "Each table of the file is an engine start a path. What may be left out is the preset's own.",
        "## A table",
        _keys(KEYS, NEEDED),
        "## A class",
        f"`workload` is one of {WORKLOAD.words}, and says which keys may stand beside it:",
    ]
    for name, keys in WORKLOADS.items():
        parts += [f"### {name}", _keys(keys, ("batches",))]
    return "\n\n".join(parts) + "\n"


def _keys(keys: Mapping[str, Kind], needed: tuple[str, ...]) -> str:
    rows = [
        [f"`{name}`", one.words, one.meaning, "yes" if name in needed else ""] for name, one in keys.items()
    ]
    return table(["key", "what it may be", "what it says", "needed"], rows, markdown=True)


def python_door() -> str:
    """The names that rollout_perf exports, with their docstrings."""
    parts = ["# Python", MADE.format(source="rollout_perf"), *_documented(rollout_perf)]
    exported = [getattr(rollout_perf, name) for name in rollout_perf.__all__]
    doors = [one for one in exported if inspect.isfunction(one)]
    classes = [one for one in exported if inspect.isclass(one)]
    parts += [part for one in doors for part in _function(one, "##")]
    for one in sorted(classes, key=lambda one: issubclass(one, Exception)):
        parts += [f"## {one.__name__}", *_class(one)]
    for name in rollout_perf.__all__:
        known = getattr(rollout_perf, name)
        if not callable(known):
            parts += [f"## {name}", ", ".join(f"`{key}`" for key in known)]
    return "\n\n".join(parts) + "\n"


def _class(one: type) -> Iterator[str]:
    if issubclass(one, Exception):
        yield f"A kind of {', '.join(f'`{base.__name__}`' for base in one.__bases__)}."
    yield from _documented(one)
    if dataclasses.is_dataclass(one):
        said = _said_of_fields(one)
        rows = [
            [
                f"`{field.name}`",
                f"`{_type(field.type)}`",
                "" if field.default is dataclasses.MISSING else f"`{field.default!r}`",
                said.get(field.name, ""),
            ]
            for field in dataclasses.fields(one)
        ]
        yield table(["field", "type", "default", "meaning"], rows, markdown=True)
    for name, member in vars(one).items():
        if inspect.isfunction(member) and not name.startswith("_"):
            yield from _function(member, "###", f"{one.__name__}.")


def _function(one: Any, level: str, owner: str = "") -> Iterator[str]:
    whole = inspect.unwrap(one)
    word = (
        "async with " if inspect.isasyncgenfunction(whole) else "await " * inspect.iscoroutinefunction(whole)
    )
    signature = inspect.signature(whole)
    parameters = [each for name, each in signature.parameters.items() if name != "self"]
    words = [_short(str(each)) for each in parameters]
    keyword = [number for number, each in enumerate(parameters) if each.kind is each.KEYWORD_ONLY]
    for first in keyword[:1]:
        words.insert(first, "*")
    given = ", ".join(words)
    if len(given) > 60:
        given = "\n" + "".join(f"    {each},\n" for each in words)
    yield f"{level} {owner}{one.__name__}"
    yield f"```python\n{word}{one.__name__}({given}) -> {_type(signature.return_annotation)}\n```"
    yield from _documented(one)


def _type(annotation: Any) -> str:
    return _short(inspect.formatannotation(annotation))


def _short(annotated: str) -> str:
    """Without the modules that types are of."""
    return re.sub(r"\b(?:\w+\.)+(?=[A-Z])", "", annotated)


def _documented(one: Any) -> Iterator[str]:
    text = inspect.getdoc(one) or ""
    if inspect.ismodule(one):  # its example stands below its first line
        head, _, example = text.partition("\n\n")
        yield head
        yield f"```python\n{example}\n```"
    else:
        yield re.sub(r"\n(?=Raises )", "\n\n", text)


def _said_of_fields(one: type) -> dict[str, str]:
    """What stands as a text below a field of a class."""
    [body] = [node.body for node in ast.parse(inspect.getsource(one)).body if isinstance(node, ast.ClassDef)]
    return {
        field.target.id: inspect.cleandoc(str(said.value.value))
        for field, said in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(said, ast.Expr)
        and isinstance(said.value, ast.Constant)
    }


PAGES = {"command-line.md": command_line, "tracked.md": tracked_keys, "python.md": python_door}


def main() -> int:
    """Write them, in the current directory."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, made in PAGES.items():
        (FOLDER / name).write_text(made())
        print(f"written: {FOLDER / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
