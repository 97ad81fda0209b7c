"""What asv tracks, by the tables of tracked.toml at the top of the checkout; a preset's scale of a workload.

    read_tracked(root)["nano"].workloads

docs/methodology.md has the keys. Standard library only: asv's own processes read the file.
"""

import hashlib
import json
import keyword
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import UsageError, meant
from ..schema.record import is_system, path_and_entry
from .agents import turns
from .labels import ENTRIES, LABELS
from .rl import grpo, verl
from .workload import STREAM, VOCABULARY, Workload

FILE = "tracked.toml"

DEFAULT_SET = "default"

FLAVOURS = {False: "cpu", True: "gpu"}
"""Where no GPU is, and where one is."""

FIXED: dict[str, dict[str, Any]] = {"nano": {"prompt_tokens": 16, "output_tokens": 32}}
"""Lengths of the fixed workload where they are not Workload's own."""

GRPO: dict[str, dict[str, Any]] = {"nano": {"prompts": 8, "samples": 4, "prompt_cap": 64, "output_cap": 64}}
"""How far the workloads with long-tailed answers are scaled down for a preset."""

TURNS: dict[str, dict[str, Any]] = {
    "nano": {
        "sessions": 8,
        "prompt_tokens": 256,
        "added_tokens": 128,
        "output_cap": 64,
        "delay_seconds": 0.05,
    }
}
"""The same of sessions of turns."""

_LIMIT_SECONDS = 300.0

_ORDER = {path: number for number, path in enumerate(LABELS)}


def fixed(preset: str, batches: Sequence[int], **lengths: int) -> list[Workload]:
    """The fixed workload of a preset at each batch."""
    own = {**FIXED.get(preset, {}), **lengths}
    return [replace(Workload(prompts=batch), **own) for batch in batches]


@dataclass(frozen=True)
class Class:
    """One of asv's classes: a workload, at one batch or at some."""

    kind: str
    """The workload's name in tracked.toml."""
    workloads: Sequence[Workload]

    @property
    def batches(self) -> list[int]:
        """The batches of its workloads, in their order."""
        return [workload.batch for workload in self.workloads]


@dataclass(frozen=True)
class Tracked:
    """What one engine start of each path measures: the engine is sized for all of the workloads."""

    preset: str
    """A preset, or a model's folder."""
    workloads: Sequence[Workload]
    name: str = ""
    """Its table's, of which its records files are named."""
    tensor_parallel_size: int = 1
    flavour: str = FLAVOURS[False]
    replicates: int = 1
    """Sessions that measure it, with fresh engines each."""
    engine_arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of vLLM, added to those that the harness gives every engine."""
    sets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The paths of each set."""
    classes: Mapping[str, Class] = field(default_factory=dict)
    until_limit_seconds: float | None = None
    """For how long a path's limit is sought, where it is."""

    @property
    def part(self) -> str:
        """What tells its series from others of the preset; in a series it follows the environment's name."""
        return self.name.removeprefix(self.preset) if self.name.startswith(self.preset) else f"-{self.name}"

    @property
    def paths(self) -> list[str]:
        """The paths of any set, in the order in which they are shown."""
        given = dict.fromkeys(path for paths in self.sets.values() for path in paths)
        return sorted(given, key=lambda path: _ORDER.get(path_and_entry(path)[0], len(_ORDER)))

    @property
    def version(self) -> list[str]:
        """What of the engines makes another series of their classes."""
        if not self.engine_arguments:
            return []
        arguments = json.dumps(self.engine_arguments, sort_keys=True)
        return [hashlib.sha256(arguments.encode()).hexdigest()[:12]]


def read_toml(file: Path) -> dict[str, Any]:
    """What a file of TOML holds. Raises UsageError, in a line."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{file} is no TOML: {error}") from None


def read_tracked(root: Path) -> dict[str, Tracked]:
    """Every engine start of asv's, by the name that `gate --tracked` takes. Raises UsageError, in a line."""
    file = root / FILE
    tables = read_toml(file)
    found = {name: _tracked(f"{file}: [{name}]", name, table, root) for name, table in tables.items()}
    owners: dict[str, str] = {}
    for name, one in found.items():
        for kind in one.classes:
            if owners.setdefault(kind, name) != name:
                raise UsageError(
                    f"{file}: the class {kind} is of [{owners[kind]}] and of [{name}]: rename one"
                )
    for flavour in FLAVOURS.values():
        if not any(one.flavour == flavour for one in found.values()):
            raise UsageError(f"{file}: no table has the flavour {flavour!r}: there must be one of each")
    return found


def choose_set(tracked: Mapping[str, Tracked], name: str, option: str) -> str:
    """The name of a set. Raises UsageError where no table has it."""
    known = dict.fromkeys(one for table in tracked.values() for one in table.sets)
    if name not in known:
        raise UsageError(f"{option} is {name!r}{meant(name, known)}; sets of {FILE}: {', '.join(known)}")
    return name


def replicated(tracked: Mapping[str, Tracked], asked: str | None) -> dict[str, Tracked]:
    """The same with as many replicates as are asked for, by a whole number; with their own where none is."""
    return {
        name: replace(one, replicates=one.replicates if asked is None else int(asked))
        for name, one in tracked.items()
    }


def first_of(tracked: Mapping[str, Tracked], on_gpu: bool) -> str:
    """The name of the first engines that are tracked where a GPU is, or none."""
    return next(name for name, one in tracked.items() if one.flavour == FLAVOURS[on_gpu])


@dataclass(frozen=True)
class Kind:
    """What a key of the file may be, and what it says."""

    words: str
    holds: Callable[[Any], bool]
    meaning: str = ""

    def of(self, meaning: str) -> "Kind":
        """The same for a key that says this."""
        return replace(self, meaning=meaning)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_rising(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(map(_is_count, value))
        and 0 < len(value) == len({*value})
        and (value == sorted(value))
    )


def _is_paths(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(one, str) and (is_system(one) or _is_way(*path_and_entry(one))) for one in value)
        and 0 < len(value) == len({one.removesuffix("@") for one in value})
    )


def _is_way(path: str, entry: str | None) -> bool:
    return path in LABELS and entry in ENTRIES


_TEXT = Kind("a text", lambda value: isinstance(value, str) and value != "")
_COUNT = Kind("a whole number of 1 or more", _is_count)
_LOGPROBS = Kind("a whole number of 0 or more", lambda value: type(value) is int and value >= 0)
_BATCHES = Kind("a list of rising whole numbers of 1 or more", _is_rising)
_SECONDS = Kind("a number above 0", lambda value: type(value) in (int, float) and 0 < value < float("inf"))
_TABLE = Kind("a table with something in it", lambda value: isinstance(value, dict) and value != {})
_PATHS = Kind(
    f"a list of paths: {', '.join(LABELS)}; each may have an entry: "
    f"{', '.join(f'PATH@{entry}' for entry in ENTRIES if entry)}; or of others' systems, MODULE:FUNCTION; "
    "one or more, each once",
    _is_paths,
)
_FLAVOUR = Kind(" or ".join(FLAVOURS.values()), lambda value: value in FLAVOURS.values())

_PROMPT = _COUNT.of("tokens of every prompt")
_OUTPUT_CAP = _COUNT.of("most tokens of an answer")
_ASKED = {
    "logprobs": _LOGPROBS.of("most probable tokens of an answer whose log-probabilities come along"),
    "prompt_logprobs": _LOGPROBS.of("the same of a prompt"),
    "output_kind": Kind(STREAM, lambda value: value == STREAM).of("answers come as they are made"),
    "arrival": _TEXT.of("when requests arrive, as `--arrival` takes it"),
    "interrupt": _TEXT.of("what happens in the middle of a rollout, as `--interrupt` takes it"),
}
_LIMIT_KEYS = {
    "batches": _BATCHES.of("sequences in a rollout, a series each"),
    "prompt_tokens": _PROMPT,
    "output_tokens": _COUNT.of("tokens of every answer"),
}
_GRPO_KEYS = {
    "prompts": _COUNT.of("prompts of a rollout"),
    "samples": _COUNT.of("answers to each prompt"),
    "prompt_cap": _COUNT.of("most tokens of a prompt"),
    "output_cap": _OUTPUT_CAP,
    **_ASKED,
}
WORKLOADS: dict[str, dict[str, Kind]] = {
    "fixed": _LIMIT_KEYS | _ASKED,
    "grpo": _GRPO_KEYS,
    "verl": _GRPO_KEYS,
    "turns": {
        "sessions": _COUNT.of("sessions of a rollout"),
        "turns": _COUNT.of("turns of a session"),
        "prompt_tokens": _PROMPT.of("tokens of the first prompt"),
        "added_tokens": _COUNT.of("tokens that each later turn adds"),
        "output_cap": _OUTPUT_CAP,
        "delay_seconds": _SECONDS.of("time of a tool between two turns"),
        **_ASKED,
    },
    "limit": _LIMIT_KEYS | {"seconds": _SECONDS.of("to search in, for each path")},
}
WORKLOAD = Kind(", ".join(WORKLOADS), lambda value: isinstance(value, str) and value in WORKLOADS)
KEYS = {
    "flavour": _FLAVOUR.of("where it is measured: on a GPU, or where there is none"),
    "preset": _TEXT.of("a preset, or a model's folder (a / is in it)"),
    "tensor_parallel_size": _COUNT.of("GPUs of an engine"),
    "replicates": _COUNT.of("sessions that measure it, with fresh engines each"),
    "engine_arguments": _TABLE.of("of vLLM, added to those that the harness gives every engine"),
    "paths": _TABLE.of("the paths of each set: `paths.default = [...]`"),
    "classes": _TABLE.of("asv's classes, a workload each: `classes.Name = {...}`"),
}
NEEDED = ("flavour", "preset", "paths", "classes")
_NAME, _CLASS = re.compile(r"\w[\w.+-]*"), re.compile(r"[A-Z][A-Za-z0-9]*")


def checked(where: str, table: Any, kinds: Mapping[str, Kind], needed: Sequence[str]) -> dict[str, Any]:
    """A table of which every key is known and what it may be, and those that are needed are there."""
    if not isinstance(table, dict):
        raise UsageError(f"{where} is {table!r}; it must be a table")
    for key, value in table.items():
        if key not in kinds:
            raise UsageError(f"{where} has the key {key!r}; known: {', '.join(kinds)}")
        if not kinds[key].holds(value):
            raise UsageError(f"{where} {key} is {value!r}; it must be {kinds[key].words}")
    for key in needed:
        if key not in table:
            raise UsageError(f"{where} has no {key}; it must be {kinds[key].words}")
    return table


def _tracked(where: str, name: str, table: Any, root: Path) -> Tracked:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{where}: a table's name, of which files are named, is of letters, digits and . _ + -"
        )
    table = checked(where, table, KEYS, NEEDED)
    sets = checked(f"{where} paths", table["paths"], dict.fromkeys(table["paths"], _PATHS), ())
    preset = table["preset"]
    is_folder = "/" in preset
    if not is_folder and name != preset and not name.startswith(f"{preset}-"):
        raise UsageError(
            f"{where} has the preset {preset!r}; its name must be {preset} or begin with {preset}-"
        )
    model = str(root / os.path.expanduser(preset)) if is_folder else preset
    vocabulary = _vocabulary(Path(model)) if is_folder else VOCABULARY
    classes, seconds = {}, None
    for kind, content in table["classes"].items():
        if not _CLASS.fullmatch(kind) or keyword.iskeyword(kind):
            raise UsageError(
                f"{where} has the class {kind!r}; it must be a name of Python as CamelCase, and no keyword"
            )
        content = dict(_checked_class(f"{where} {kind}", content))
        if content["workload"] == "limit":
            seconds = content.pop("seconds", _LIMIT_SECONDS)
        try:
            classes[kind] = _class(preset, vocabulary, **content)
        except ValueError as error:
            raise UsageError(f"{where} {kind}: {error}") from None
    loads = [load for one in classes.values() for load in one.workloads]
    names = [one.workloads[0].name for one in classes.values()]
    if len({*names}) < len(names):
        raise UsageError(
            f"{where} has the workloads {', '.join(names)}; each may be there once (a limit is sought with "
            "fixed): give the other a table of its own"
        )
    return Tracked(
        model,
        loads,
        name,
        table.get("tensor_parallel_size", 1),
        table["flavour"],
        table.get("replicates", 1),
        table.get("engine_arguments", {}),
        sets,
        classes,
        seconds,
    )


def _checked_class(where: str, content: Any) -> dict[str, Any]:
    kinds = {"workload": WORKLOAD}
    if isinstance(content, dict) and WORKLOAD.holds(content.get("workload")):
        kinds |= WORKLOADS[content["workload"]]
    return checked(where, content, kinds, [key for key in kinds if key in ("workload", "batches")])


def _vocabulary(folder: Path) -> int:
    """Ids to draw from that a local model knows; those of every preset where it is not on this machine.

    So it is where the config says no number of them: what starts the engine looks at that.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError, RecursionError):
        return VOCABULARY
    size = config.get("vocab_size") if isinstance(config, dict) else None
    return min(size, VOCABULARY) if type(size) is int and size > 0 else VOCABULARY


def _class(preset: str, vocabulary: int, workload: str, **scale: Any) -> Class:
    """What the file does not give is the preset's own, as it is for the commands."""
    asked = {name: scale.pop(name) for name in _ASKED if name in scale}
    if "batches" in scale:
        loads = fixed(preset, **scale)
    elif workload == "turns":
        loads = [turns(**TURNS.get(preset, {}) | scale)]
    else:
        loads = [(verl if workload == "verl" else grpo)(**GRPO.get(preset, {}) | scale)]
    return Class(workload, [replace(load.asking(**asked), vocabulary=vocabulary) for load in loads])
