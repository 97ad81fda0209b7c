"""What each of several engines had, as a table; by hand."""

from rollout_bench.measure.tracked import fixed
from rollout_bench.report.replicas import replica_table
from rollout_bench.schema.record import MEASURED, Record


def test_a_row_a_replica_with_its_requests_and_what_its_prefix_cache_had():
    def replica(requests, retried, cached):
        last = {"engine_steps": 8, "prompt_tokens": 200, "cached_tokens": cached}
        return {"requests": requests, "retried": retried, "last_rollout": last}

    load = fixed("nano", [8])[0].as_dict()
    seen = {"replicas": [replica(13, 0, 150), replica(11, 2, 0)], "engine": {"prefix_caching": True}}
    one = Record("zmq", "nano", 1, load, MEASURED, observed={"engine": {}})
    two = Record("zmq", "nano", 1, load, MEASURED, observed=seen, entry="http*2-sticky")
    assert replica_table([one]) == ""
    _caption, _titles, *rows = replica_table([one, two]).splitlines()
    assert [row.split() for row in rows] == [
        ["zmq@http*2-sticky", "8", "0", "13", "0", "8", "75.0", "%"],
        ["zmq@http*2-sticky", "8", "1", "11", "2", "8", "0.00", "%"],
    ]
    off = Record("zmq", "nano", 1, load, MEASURED, observed=seen | {"engine": {"prefix_caching": False}})
    assert replica_table([off]).split()[-1] == "off"
