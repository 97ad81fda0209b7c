"""history/asv_runs.py: asv's output is read to its end, whatever it is."""

import pytest
from rollout_bench.history import asv_runs

ASV = r"""#!/bin/sh
printf '\267 caf\351 \n'
i=0; while [ $i -lt 3000 ]; do echo "an installer says a line, longer than some, number $i"; i=$((i+1)); done
"""


@pytest.mark.timeout(30)
def test_a_byte_of_asv_that_is_no_text_does_not_stall_it(tmp_path, monkeypatch):
    """The reader ended at it in silence, and asv at a full pipe."""
    asv = tmp_path / "asv"
    asv.write_bytes(ASV.encode())
    asv.chmod(0o755)
    monkeypatch.setattr(asv_runs, "asv_command", lambda: str(asv))
    code, log = asv_runs.run_asv(tmp_path, "HEAD", [], "box", None, print, lambda *_mark: None)
    assert code == 0
    assert len(log.read_text(encoding="utf-8").splitlines()) == 3001
