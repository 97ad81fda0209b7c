"""Dependencies point one way: the pure modules import nothing heavy, and the ruler not the subject."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("vllm", "torch", "ray", "zmq")

PURE = [
    "rollout_perf.errors",
    "rollout_perf.models",
    "rollout_perf.transports",
    "rollout_perf.transports.base",
    "rollout_perf.transports.blocks",
    "rollout_perf.transports.wire",
]
# asv's own processes have the standard library alone: what ASV_PYTHONPATH provides they do not see.
RULER = [f"benchmarks.harness.{path.stem}" for path in (ROOT / "benchmarks" / "harness").glob("[a-z]*.py")]
CELL_CODE = {"cell.py", "drive.py", "probe.py", "pipe.py"}
"""Code of the ruler that runs in a process of its own, beside the subject."""


def loaded_by(module: str) -> set[str]:
    """Top-level packages that are there after `import module` in a fresh process."""
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_of_the_subject_imports_nothing_heavy(module):
    """Tests of arithmetic would need an engine, and a pipe could not be swapped without the others."""
    assert loaded_by(module) & set(HEAVY) == set()


@pytest.mark.parametrize("module", RULER)
def test_a_pure_module_of_the_ruler_imports_the_standard_library_alone(module):
    assert loaded_by(module) & {*HEAVY, "psutil", "numpy", "rollout_perf"} == set()


@pytest.mark.parametrize("module", ["benchmarks.rollout", "benchmarks.transport_rpc"])
def test_asv_can_discover_the_benchmarks_without_the_subject(module):
    """asv imports them at every commit, at one without an API too."""
    if not (ROOT / f"{module.replace('.', '/')}.py").exists():
        pytest.skip("not there")
    assert loaded_by(module) & {*HEAVY, "psutil", "rollout_perf"} == set()


def test_the_package_imports_neither_engines_nor_the_tools_that_judge():
    """`import rollout_perf` happens in every measured process."""
    code = "import sys, rollout_perf; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & set(HEAVY)
    assert not [name for name in loaded if name.startswith(("rollout_perf.tracking", "rollout_perf.cli"))]


def imported_at_module_level(file: Path) -> set[str]:
    """Packages that a file's own level imports, under `if` and `try` too."""
    found: set[str] = set()

    def walk(statements: list[ast.stmt]) -> None:
        for statement in statements:
            if isinstance(statement, ast.Import):
                found.update(alias.name.split(".")[0] for alias in statement.names)
            elif isinstance(statement, ast.ImportFrom) and not statement.level:
                found.add((statement.module or "").split(".")[0])
            elif isinstance(statement, ast.If | ast.Try | ast.With):
                walk([node for node in ast.walk(statement) if isinstance(node, ast.Import | ast.ImportFrom)])

    walk(ast.parse(file.read_text()).body)
    return found


@pytest.mark.parametrize(
    "file", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT))
)
def test_the_ruler_never_imports_the_subject_at_module_level(file):
    """The subject is another commit's, and may have no such name: that is a value which is absent."""
    assert "rollout_perf" not in imported_at_module_level(file)


@pytest.mark.parametrize(
    "file",
    [f for f in sorted((ROOT / "benchmarks").rglob("*.py")) if f.name not in CELL_CODE],
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_only_code_of_a_cell_knows_the_subject(file):
    text = file.read_text()
    imports = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom) and "rollout_perf" in ast.unparse(node)
    ]
    assert imports == []


def test_the_subject_never_imports_the_ruler():
    for file in (ROOT / "rollout_perf").rglob("*.py"):
        if "tracking" not in file.parts:
            assert not imported_at_module_level(file) & {"benchmarks", "harness"}, file
