"""The words beside a picture of training: what was estimated and how, what is doubtful, what was left out."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from miest.plotting.points import Place, Point, Rows, finite, must_not_rise, rises
from miest.plotting.recorded import Row
from miest.result import MIResult

OPEN = "No layer here is a function of what was recorded of the one before it: information may rise."
_UNITLESS = ("dimension", "d2(", "gradient")  # in the names of quantities that are no information
_MEASURES = {"noise_var": "noise variance", "noise_std": "noise std", "width": "bin width"}  # diagnostics of a row


def readable(text: str) -> str:
    """The name of a quantity with the letter that stands for noise."""
    return text.replace("eps", "ε")


def spread(values: Collection[float], form: str = "{:,}") -> str:
    """One value, or the smallest and the largest."""
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"


def name_of(rows: Rows) -> str:
    """The quantity, for a reader; a failed estimate may not know what it would have been."""
    told = [row.name for row in rows.values() if row.kind != "failed"] or [row.name for row in rows.values()]
    return readable(" or ".join(dict.fromkeys(told)))


def is_information(rows: Rows) -> bool:
    """Whether the values have units: a dimension has none, nor has a gradient."""
    return not any(word in name_of(rows) for word in _UNITLESS)


def scale_of(rows: Rows, units: str) -> float:
    """What takes the values from nats to these units."""
    return 1 / math.log(2) if units == "bits" and is_information(rows) else 1.0


def bound_of(rows: Rows) -> str:
    """Which bound the values are; empty for estimates of the quantity itself."""
    return " or ".join(dict.fromkeys(row.kind for row in rows.values() if row.kind not in ("point", "failed")))


def label_of(rows: Rows, units: str = "") -> str:
    """The quantity, its units, and which bound on it the values are."""
    unit = f" ({units})" if units and is_information(rows) else ""
    bound = bound_of(rows)
    return name_of(rows) + unit + (f", {bound}" if bound else "")


def settings_of(rows: Rows) -> str:
    """The estimator, its settings but for those that are None, and the noise or bins that it took from the data."""
    texts = dict.fromkeys(re.sub(r"\(, ", "(", re.sub(r"(, |(?<=\())\w+=None", "", r.estimator)) for r in rows.values())
    # Digits that came from a division, as of a bin width, tell a reader nothing.
    words = [re.sub(r"\d+\.\d{6,}", lambda number: f"{float(number[0]):.4g}", " or ".join(texts))]
    for key, what in _MEASURES.items():
        found = [r.diagnostics[key] for r in rows.values() if isinstance(r.diagnostics.get(key), (int, float))]
        if found and not any(f"={value!r}" in text for value in found for text in texts):
            words.append(f"{what} {spread(found, '{:.3g}')}")
    return ", ".join(words)


def samples(rows: Iterable[Row]) -> str:
    """How many; a failed estimate may not know, and a gradient has batches."""
    counts = {row.n for row in rows if row.kind != "failed" and "gradient" not in row.name}
    return f"n = {spread(counts)} samples." if counts else "No samples."


def intervals(rows: Iterable[Row | MIResult]) -> list[str]:
    """What the bars are; empty without bars."""
    levels = {row.level for row in rows if row.interval is not None}
    return [f"Bars: {spread(levels, '{:.0%}')} intervals."] if levels else []


def doubts(flags: Sequence[Sequence[str]]) -> list[str]:
    """How many of the points are hollow and why, from the flags of each point; empty where none is."""
    counts = Counter(flag for of_point in flags for flag in of_point)
    names = ", ".join(f"{flag} {count:,}" for flag, count in counts.most_common())
    return [f"Hollow: {sum(map(bool, flags)):,} of {len(flags):,} are flagged ({names})."] if counts else []


def left_out(rows: Collection[Row]) -> list[str]:
    """What has no place in a picture, counted; empty where nothing is."""
    failed = sum(row.kind == "failed" or math.isnan(row.value) for row in rows)
    infinite = sum(not finite(row) for row in rows) - failed
    parts = [f"{count:,} {what}" for count, what in ((failed, "failed"), (infinite, "infinite")) if count]
    return [f"Left out: {' and '.join(parts)} of {len(rows):,} estimates."] if parts else []


def processing(rows: Rows, followed: Collection[str]) -> str:
    """What the data-processing inequality says of a quantity, or why it says nothing."""
    name = name_of(rows)
    if not any(map(must_not_rise, name.split(" or "))):
        own = "noise" if "ε" in name else "bins" if "bin" in name.lower() else ""
        if own:
            return f"{name} has {own} of its own in each layer, and may rise from one to the next."
        return f"{name} may rise from layer to layer."
    checked, risen = rises(rows, followed)
    if not risen:
        return f"{name} nowhere rises from a layer to the next by more than its errors."
    return (
        f"×: {name} rises from a layer to the next by more than its errors {len(risen):,} of {checked:,} times, "
        "which no processing can do."
    )


def plane_caption(across: Rows, up: Rows, shown: Mapping[Place, Point], followed: Collection[str]) -> list[str]:
    """Sentences below a plane."""
    both = [across, up] if across is not up else [across]
    seen = [row for rows in both for row in rows.values()]
    return [
        *(f"{label_of(rows)}: {settings_of(rows)}." for rows in both if rows),
        samples(seen),
        *intervals(row for point in shown.values() for row in (point.x, point.y)),
        *doubts([point.flags for point in shown.values()]),
        *([processing(rows, followed) for rows in both] if followed else [OPEN]),
        *left_out(seen),
    ]
