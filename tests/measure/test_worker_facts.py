"""worker_facts.py: which of the workers' process numbers are of processes here."""

from rollout_bench.measure.worker_facts import pids_here, process_space


def test_the_number_of_a_process_elsewhere_is_not_taken_for_one_here():
    """It would be stopped with the workers that wait, or asked for its memory."""
    mine, other = process_space(), f"another-boot {process_space().split()[1]}"
    workers = [{"pid": 7, "processes": mine}, {"pid": 8, "processes": other}, {"pid": 9}]
    assert pids_here(workers) == [7, 9]
