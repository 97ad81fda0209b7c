"""Numbers as people read them: values with units, intervals, ratios, changes, shares. Pure.

Below zero they have the minus sign, not a hyphen, as on the site (`site/static/format.js`).
"""

import math

from ..schema.metrics import metric
from .estimate import Estimate

_BINARY = ((3, "GiB"), (2, "MiB"), (1, "KiB"), (0, "B"))
_MOST_CHANGE = 9.995
_MOST_DECIMALS, _NO_WIDTH = 4, 1e-4


def number(value: float) -> str:
    """At most three significant digits, and none of the integer part is lost."""
    size = abs(value)
    return _minus(f"{value:.{0 if size >= 99.95 else 1 if size >= 9.995 else 2}f}")


def signed(value: float, digits: int = 1) -> str:
    """A difference, with its sign: "+4.9", "−4.9"."""
    return _minus(f"{value:+.{digits}f}")


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def scale(value: float, name: str) -> tuple[float, str]:
    """Divisor and sign of the unit that reads best for `value` of the metric `name`."""
    unit = metric(name).unit
    if unit == "seconds":
        return (1.0, "s") if value >= 1 else (1e-3, "ms") if value >= 1e-3 else (1e-6, "µs")
    if unit == "bytes":
        return next(((1024.0**n, sign) for n, sign in _BINARY if value >= 1024.0**n), (1.0, "B"))
    return (0.01, "%") if unit == "share" else (1.0, "")  # of a count its title says what is counted


def quantity(value: float, name: str) -> str:
    """A value with its unit: "12.3 ms"."""
    divisor, sign = scale(value, name)
    return f"{number(value / divisor)} {sign}".rstrip()


def interval(value: Estimate, name: str = "") -> str:
    """A value with its unit and its interval: "12.3 ms [12.1 .. 12.9]"; a lone sample has no interval.

    Without a name it is a ratio, which has as many decimals as its interval asks for.
    """
    shown = quantity(value.middle, name)
    if not value.has_interval:
        return shown
    if not name or metric(name).unit == "ratio":
        digits = decimals(value.high - value.low)
        shown, low, high = (f"{one:.{digits}f}" for one in (value.middle, value.low, value.high))
        return f"{shown} {bounds(low, high)}"
    divisor, _sign = scale(value.middle, name)
    return f"{shown} {bounds(number(value.low / divisor), number(value.high / divisor))}"


def decimals(width: float) -> int:
    """Of a ratio whose interval is so wide: for two digits of the width, and two at least."""
    return min(_MOST_DECIMALS, max(2, 1 - math.floor(math.log10(width)))) if width > _NO_WIDTH else 2


def bounds(low: str, high: str) -> str:
    """The bounds of an interval: "[12.1 .. 12.9]"."""
    return f"[{low} .. {high}]"


def share(value: float) -> str:
    """A share of a whole: "30.0 %"."""
    return f"{number(value * 100)} %"


def change(ratio: float) -> str:
    """A ratio as a change: "+4.9 %"."""
    by = ratio - 1
    if by > _MOST_CHANGE:
        return "> +999 %"
    return f"{signed(by * 100, 1 if abs(by) < 0.9995 else 0)} %"


def change_interval(low: float, high: float) -> str:
    """Bounds of a ratio as changes: "[+4.1 % .. +5.6 %]"."""
    return bounds(change(low), change(high))


def confidence(value: float) -> str:
    """A confidence, never rounded up to certainty: "99.2 %", ">99.99 %"."""
    return ">99.99 %" if value > 0.9999 else f"{math.floor(value * 1e4) / 100:g} %"


def payload(size: int) -> str:
    """A payload's size: "64 B", "16 KiB", "1 MiB"."""
    if size < 1024:
        return f"{size} B"
    return f"{size / 1024:g} KiB" if size < 1024**2 else f"{size / 1024**2:g} MiB"
