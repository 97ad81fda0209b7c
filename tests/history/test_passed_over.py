"""passed_over.py: what asv would pass over though it was never measured."""

import json

import pytest
from rollout_bench.history.passed_over import passed_over
from rollout_bench.history.results import Commit
from rollout_bench.measure.tracked import Class, Tracked, fixed
from rollout_bench.schema.record import MEASURED, Record

COMMIT = Commit("a" * 40, "one", 1)
LOADS = fixed("nano", [1, 8])
TRACKED = {
    "nano": Tracked(
        "nano",
        LOADS,
        "nano",
        sets={"default": ["zmq", "ray"], "quick": ["zmq"]},
        classes={"Nano": Class("fixed", LOADS)},
    )
}


@pytest.mark.parametrize(
    ("measured", "lacks"),
    [
        ([("zmq", 0), ("zmq", 1), ("ray", 0), ("ray", 1)], []),
        ([("zmq", 0), ("zmq", 1)], ["default"]),
        ([("zmq", 0), ("ray", 0), ("ray", 1)], ["default", "quick"]),
        ([], ["default", "quick"]),
    ],
)
def test_a_commit_lacks_what_any_path_of_the_set_has_of_no_workload(measured, lacks, tmp_path):
    records = tmp_path / "records"
    records.mkdir()
    (tmp_path / "aaaaaaaa-env.json").write_text(json.dumps({"results": {"Nano.track": [[1.0]]}}))
    lines = [Record(path, "nano", 1, LOADS[place].as_dict(), MEASURED) for path, place in measured]
    (records / "aaaaaaaa-env-nano.jsonl").write_text("".join(f"{one.to_json()}\n" for one in lines))
    for name in ("default", "quick"):
        found = passed_over(tmp_path, [COMMIT], TRACKED, name)
        assert found == (([COMMIT], ["Nano"]) if name in lacks else ([], []))
