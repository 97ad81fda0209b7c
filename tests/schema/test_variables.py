"""variables.py: an environment variable of the harness is named there and nowhere else."""

import ast
import re
from pathlib import Path

from rollout_bench.schema import variables

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "bench" / "rollout_bench" / "schema" / "variables.py"


def named_in(file: Path) -> set[str]:
    """The environment variables of ours that are literals of a file."""
    constants = (
        node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)
    )
    return {one for one in constants if isinstance(one, str) and re.fullmatch(r"ROLLOUT_PERF_\w+", one)}


def test_a_variable_is_named_in_one_file():
    """A second spelling of one name may drift from the first, and then what is set is not what is read."""
    files = [file for folder in ("bench", "benchmarks", "studies") for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 50
    elsewhere = {str(file.relative_to(ROOT)): named_in(file) for file in files if file != HOME}
    assert {file: names for file, names in elsewhere.items() if names} == {}
    assert named_in(HOME) == {value for name, value in vars(variables).items() if name.isupper()}
