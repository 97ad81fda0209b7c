"""Which requests of a workload wait for others: turns of a session, each after the one before. Pure."""

from collections.abc import Iterable, Sequence


def turns_before(turns: Iterable[tuple[str | None, int, int]]) -> dict[int, tuple[int, int]]:
    """Of the numbers of sequences that are a later turn: number of the turn before, and tokens of its answer.

    `turns` are session, turn and output tokens of each. Raises ValueError for one without a turn before it.
    """
    known: dict[tuple[str, int], tuple[int, int]] = {}
    before = {}
    for number, (session, turn, answer) in enumerate(turns):
        if session is None:
            continue
        if turn > 1:
            if (session, turn - 1) not in known:
                raise ValueError(f"turn {turn} of session {session!r} comes before its turn {turn - 1}")
            before[number] = known[session, turn - 1]
        known[session, turn] = number, answer
    return before


def check(before: dict[int, tuple[int, int]], prompts: Sequence[tuple[int, int]], one_request: bool) -> None:
    """Raise ValueError where a later prompt has no room for the turn before, or several samples.

    `prompts` are length and number of sequences of each. A first prompt may be of many sessions, unless
    `one_request` asks for all its samples.
    """
    for number, (earlier, answer) in before.items():
        (length, samples), (length_before, samples_before) = prompts[number], prompts[earlier]
        turn = f"prompt {number + 1} is the turn after prompt {earlier + 1}"
        if samples > 1 or (samples_before > 1 and one_request):
            raise ValueError(f"{turn}: each has one sample then")
        if length <= length_before + answer:
            raise ValueError(
                f"{turn}: it has more tokens than the {length_before + answer} of that turn, not {length}"
            )


def chains(
    requests: int, session: Sequence[str | None] | None, delay_seconds: Sequence[float] | None
) -> list[list[tuple[int, float]]]:
    """Requests of which each waits for the one before: their numbers, and the delay before each."""
    found: dict[int | str, list[tuple[int, float]]] = {}
    for number in range(requests):
        whose = session[number] if session else None
        delay = delay_seconds[number] if delay_seconds else 0.0
        found.setdefault(number if whose is None else whose, []).append((number, delay))
    return list(found.values())
