"""The tables of a report: what to doubt in plain words, and the settings. All text in them is escaped here."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from miest.plotting.captions import OPEN, is_information, name_of, processing, readable, settings_of, spread
from miest.plotting.points import Rows, finite
from miest.plotting.recorded import Row, Trajectory
from miest.result import Flag

_WIDE = ' class="wide"'
_CLASSES = {"flag": ' class="flag"', "what it means": _WIDE, "quantity": _WIDE, "estimator": _WIDE, "verdict": _WIDE}


def words(flag: str) -> str:
    """What a flag means."""
    return Flag[flag].value if flag in Flag.__members__ else "unknown to this version of miest"


def doubts(rows: Mapping[str, Rows], followed: Collection[str]) -> str:
    """Flags in words, failures with their reasons, and what the data-processing inequality says."""
    flagged: dict[tuple[str, str], list[Row]] = {}
    without: Counter[tuple[str, str]] = Counter()
    for found in rows.values():
        quantity = f"{name_of(found)}, {settings_of(found)}"
        for row in found.values():
            for flag in row.flags:
                flagged.setdefault((flag, quantity), []).append(row)
            if not finite(row):
                without[quantity, " ".join(row.notes) or "the value is infinite"] += 1
    parts = ["<h3>Flags</h3>"]
    if flagged:
        lines = [
            (flag, words(flag), of, f"{len(seen):,}", *_where(seen)) for (flag, of), seen in sorted(flagged.items())
        ]
        parts.append(_table(("flag", "what it means", "quantity", "estimates", "steps", "layers"), lines))
    else:
        parts.append("<p>No estimate is flagged.</p>")
    if without:
        parts.append("<h3>Estimates without a finite value</h3>")
        reasons = [(of, reason, f"{times:,}") for (of, reason), times in without.most_common()]
        parts.append(_table(("quantity", "reason", "estimates"), reasons))
    parts.append("<h3>Processing cannot add information</h3>")
    if followed:
        told = [found for found in rows.values() if is_information(found)]
        verdicts = [(name_of(found), settings_of(found), processing(found, followed)) for found in told]
        parts.append(_table(("quantity", "estimator", "verdict"), verdicts))
    else:
        parts.append(f"<p>{escape(OPEN)}</p>")
    return "\n".join(parts)


def _where(rows: Sequence[Row]) -> tuple[str, str]:
    layers = dict.fromkeys(row.layer for row in rows)
    named = ", ".join(list(layers)[:6]) + (f" and {len(layers) - 6} more" if len(layers) > 6 else "")
    return spread({row.step for row in rows}), named


def settings_tables(trajectory: Trajectory, rows: Mapping[str, Rows]) -> str:
    """The quantities with their estimators in full, and the settings of the run."""
    axes = {"x": "across", "y": "up", None: ""}
    lines = [
        (
            readable(" or ".join(dict.fromkeys(row.name for row in found.values()))),
            key,
            " or ".join(dict.fromkeys(row.estimator for row in found.values())),
            axes.get(trajectory.axes.get(key), ""),
            f"{sum(row.seconds for row in found.values()):,.1f}",
        )
        for key, found in rows.items()
    ]
    head = ("quantity", "key", "estimator", "axis", "seconds in all")
    of_run = [(name, text) for name, text in _flat(trajectory.settings) if text]
    shown = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in of_run)
    run = (
        f'<h3>Run</h3>\n<div class="scroll"><table class="settings"><tbody>{shown}</tbody></table></div>'
        if shown
        else ""
    )
    return f"<h3>Quantities</h3>\n{_table(head, lines)}\n{run}"


def _flat(plain: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, text); a list of mappings has a line for each."""
    if isinstance(plain, Mapping):
        return [each for key, value in plain.items() for each in _flat(value, f"{name}.{key}" if name else str(key))]
    if isinstance(plain, (list, tuple)):
        many = any(isinstance(item, (Mapping, list, tuple)) for item in plain)
        return [(name, ("\n" if many else ", ").join(map(_line, plain)))]
    return [(name, "" if plain is None else str(plain))]


def _line(plain: Any) -> str:
    if isinstance(plain, Mapping):
        return ", ".join(f"{key}: {_line(value)}" for key, value in plain.items() if value is not None)
    return ", ".join(map(_line, plain)) if isinstance(plain, (list, tuple)) else str(plain)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    kinds = [_CLASSES.get(text, "") for text in head]
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{escape(text)}</td>' for kind, text in zip(kinds, line, strict=True))}</tr>"
        for line in lines
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
