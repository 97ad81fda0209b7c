"""The warnings of the values of a text: a mark at each value, and below a line for each warning. Pure."""

from collections.abc import Iterable

from .estimate import WARNINGS, Estimate

_MARKS = "¹²³⁴⁵⁶⁷⁸⁹"


class Footnotes:
    """Gives out marks, the same for the same warning, and keeps what they stand for."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}

    def mark(self, value: Estimate, marked: Iterable[Estimate | None] = ()) -> str:
        """Marks for the warnings of a value, but for those of values beside it that are `marked` already."""
        beside = {warning for one in marked if one is not None for warning in one.warnings}
        return "".join(self.mark_of(warning) for warning in value.warnings if warning not in beside)

    def mark_of(self, warning: str) -> str:
        """The mark of a warning."""
        return self._marks.setdefault(warning, _MARKS[len(self._marks)])

    def lines(self) -> list[str]:
        """A line for each warning that was marked, in the order of the marks."""
        return [f"{mark} {WARNINGS[warning]}" for warning, mark in self._marks.items()]
