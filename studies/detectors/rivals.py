"""Other detectors of steps, called as their own tools call them: what `detect` is compared with.

Each takes the values of one machine's series, lower is better, and gives the indices of first points
at a new level. They know no machines: a series that mixes two is given to them machine by machine.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rollout_bench.stats.exam import OURS, Detector, ours


def detectors(otava: Path | None) -> dict[str, Detector]:
    """Every detector by name. `otava` is a folder with its sources; without it, it is left out."""
    found: dict[str, Detector] = {
        OURS: ours,
        "asv, default 5 %": partial(_apart, partial(_asv, threshold=0.05)),
        "asv at 2 %": partial(_apart, partial(_asv, threshold=0.02)),
        "ruptures PELT, 3 log n": partial(_apart, _pelt),
    }
    if otava is not None:
        found["Otava, default"] = partial(_apart, partial(_otava, str(otava), magnitude=0.0))
        found["Otava, 2 % at least"] = partial(_apart, partial(_otava, str(otava), magnitude=0.02))
    return found


def _apart(
    detector: Callable[[Sequence[float]], list[int]], values: Sequence[float], machines: Sequence[str] | None
) -> list[int]:
    """What a detector finds in the series of each machine."""
    found: set[int] = set()
    labels = np.asarray([""] * len(values) if machines is None else machines)
    for machine in np.unique(labels):
        places = np.flatnonzero(labels == machine)
        found |= {int(places[index]) for index in detector([values[place] for place in places])}
    return sorted(found)


def _asv(values: Sequence[float], threshold: float) -> list[int]:
    """Regressions as `asv publish` reports them; a step down is none."""
    from asv.step_detect import detect_regressions, detect_steps

    regressions = detect_regressions(detect_steps(list(values)), threshold)[2] or []
    return [after for _before, after, _old, _best in regressions]


def _pelt(values: Sequence[float]) -> list[int]:
    """Changes of the mean with a penalty of 3 log n; noise from the differences of neighbours."""
    import ruptures

    logs = np.log(values)
    differences = np.diff(logs)
    noise = 1.4826 * np.median(np.abs(differences - np.median(differences))) / np.sqrt(2)
    search = ruptures.KernelCPD("linear", min_size=3).fit((logs / noise)[:, None])
    return [int(place) for place in search.predict(pen=3 * np.log(len(logs)))[:-1]]


def _otava(sources: str, values: Sequence[float], magnitude: float) -> list[int]:
    """Change points as `otava analyze` reports them."""
    if sources not in sys.path:
        sys.path.append(sources)
    analysis = importlib.import_module("otava.analysis")
    points, _weak = analysis.compute_change_points(list(values), min_magnitude=magnitude)
    return [int(point.index) for point in points]
