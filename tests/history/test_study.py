"""The study of a history in few sessions: which code was measured, and how far apart the same code was."""

from pathlib import Path

from rollout_bench.measure.shared import sut_fingerprint

from studies import history

ROOT = Path(__file__).resolve().parents[2]


def test_the_fingerprint_is_of_the_folder_that_is_measured(tmp_path, monkeypatch):
    """And not of the checkout in which the study runs."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "rollout_perf").mkdir()
    (tmp_path / "rollout_perf" / "__init__.py").write_text("another = True\n")
    found = history._facts(tmp_path, "c0ffee")
    assert found["commit"] == "c0ffee"
    assert len(found["sut"]) == len(sut_fingerprint())
    assert found["sut"] != sut_fingerprint()


def test_sessions_say_how_far_apart_the_same_code_was(capsys):
    sessions = ROOT / "results" / "h100-4x" / "exam" / "2026-11-27-same-code-7b.jsonl"
    history.show(history.read(sessions))
    assert capsys.readouterr().out.split("\n\n")[1] == (
        "zmq, batch 64: standard deviation of an engine's rollouts 0.6%\n"
        "  correlation with the slowness of the cores: 0.45 to 0.68\n"
        "  code b114c945 over the control: 1.009, 1.003; CV 0.4%, of the absolute times 0.4%"
    )
