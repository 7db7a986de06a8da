"""What trials come to: bias, spread and coverage on each task, errors over tasks, and how often flags fire rightly."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from miest.result import Flag
from miest.trials import Group, Trial

SILENT_ABOVE = 0.25
"""Nats: an error above it that carries no flag counts as silent."""

WRONG_SHARE, WRONG_NATS = 0.10, 0.05
"""An estimator is wrong on a task where its bias is above both: this share of the truth, and so many nats."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One estimator on one task at one size, over the seeds; errors are in nats, None where nothing can be said.

    Parameters
    ----------
    values, infinite : int          seeds with a finite value, from which the errors are, and with an infinite one
    refused, failed : int           seeds with a refusal, and with any other error
    bias, bias_error : float        mean error and its standard error, in which the truth's own is counted
    spread : float                  standard deviation of the value
    rmse, mean_error : float        root of the mean squared error; mean |error|
    coverage, intervals             share of the intervals that hold the truth, and how many there are
    flagged : float                 share of values that carry any flag
    flags : dict of str to float    share of values that carry each flag
    seconds : float                 median, so that a first call that compiles does not count
    error : str or None             the first reason for a missing value
    """

    estimator: str
    task: str
    group: Group
    n: int
    truth: float
    truth_error: float
    values: int
    infinite: int
    refused: int
    failed: int
    bias: float | None
    bias_error: float | None
    spread: float | None
    rmse: float | None
    mean_error: float | None
    coverage: float | None
    intervals: int
    flagged: float | None
    flags: dict[str, float]
    seconds: float
    error: str | None

    @property
    def is_wrong(self) -> bool:
        """Whether the bias is above 10% of the truth and above 0.05 nats, beyond what the truth may be off by.

        An infinite value is wrong: the truths are finite.
        """
        if self.infinite:
            return True
        off = abs(self.bias or 0.0) - 2 * self.truth_error
        return off > WRONG_NATS and off > WRONG_SHARE * self.truth


@dataclass(frozen=True, kw_only=True)
class Overall:
    """One estimator at one size over the tasks of a group; |error| is the mean over seeds, nats.

    Parameters
    ----------
    group : str                     kind of task, "conditional", or "all"
    tasks, unanswered : int         with a finite value, and without any
    mean_error, median_error, worst_error : float       over tasks
    worst_task : str
    silent : float                  share of values that are off by more than 0.25 nats and carry no flag
    coverage, intervals             share of the intervals that hold the truth, and how many there are, over all tasks
    coverage_if_right, intervals_if_right       the same over the tasks where the bias is small: see `Summary.is_wrong`
    flagged : float                 share of values that carry any flag
    seconds : float                 mean over tasks
    """

    estimator: str
    group: str
    n: int
    tasks: int
    unanswered: int
    mean_error: float | None
    median_error: float | None
    worst_error: float | None
    worst_task: str
    silent: float | None
    coverage: float | None
    intervals: int
    coverage_if_right: float | None
    intervals_if_right: int
    flagged: float | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FlagRate:
    """How often a flag fires where the estimator is wrong on the task, and where it is not.

    Parameters
    ----------
    flag : str                      "any" is any of them
    fired, wrong, right : int       values that carry it; values where the estimator is wrong, and where it is not
    hit : float or None             share of the wrong ones that carry it
    false_alarm : float or None     share of the right ones that carry it
    """

    flag: str
    fired: int
    wrong: int
    right: int
    hit: float | None
    false_alarm: float | None


def _by_summary(trials: Iterable[Trial]) -> dict[tuple[str, str, int], list[Trial]]:
    found: dict[tuple[str, str, int], list[Trial]] = {}
    for trial in trials:
        found.setdefault((trial.estimator, trial.task, trial.n), []).append(trial)
    return found


def summaries(trials: Iterable[Trial]) -> tuple[Summary, ...]:
    """Trials of the same estimator, task and n put together, in order."""
    return tuple(_summary(each) for each in _by_summary(trials).values())


def _summary(trials: Sequence[Trial]) -> Summary:
    """Trials of one estimator, task and n."""
    first = trials[0]
    values = [trial.value for trial in trials if trial.value is not None and math.isfinite(trial.value)]
    valued = [trial for trial in trials if trial.value is not None]
    errors = [value - first.truth for value in values]
    spread = stdev(values) if len(values) > 1 else None
    covered = [trial.covered for trial in valued if trial.covered is not None]
    names = dict.fromkeys(flag for trial in valued for flag in trial.flags)
    missing = [trial for trial in trials if trial.value is None]
    return Summary(
        estimator=first.estimator,
        task=first.task,
        group=first.group,
        n=first.n,
        truth=first.truth,
        truth_error=first.truth_error,
        values=len(values),
        infinite=len(valued) - len(values),
        refused=sum(trial.refused for trial in missing),
        failed=sum(not trial.refused for trial in missing),
        bias=_mean(errors),
        bias_error=None if spread is None else math.hypot(spread / math.sqrt(len(values)), first.truth_error),
        spread=spread,
        rmse=math.sqrt(fmean(error**2 for error in errors)) if errors else None,
        mean_error=_mean([abs(error) for error in errors]),
        coverage=_mean(covered),
        intervals=len(covered),
        flagged=_mean([bool(trial.flags) for trial in valued]),
        flags={name: fmean(name in trial.flags for trial in valued) for name in names},
        seconds=median(trial.seconds for trial in trials),
        error=missing[0].error if missing else None,
    )


def overall(trials: Iterable[Trial], group: str) -> tuple[Overall, ...]:
    """Trials of the same estimator and n put together, in order."""
    found: dict[tuple[int, str], list[Trial]] = {}
    for trial in trials:
        if group in ("all", trial.group):
            found.setdefault((trial.n, trial.estimator), []).append(trial)
    return tuple(_overall(n, name, group, each) for (n, name), each in found.items())


def flag_rates(trials: Iterable[Trial]) -> tuple[FlagRate, ...]:
    """A row for each flag that fired, in the order of `Flag`, and one for any of them."""
    wrong: list[Trial] = []
    right: list[Trial] = []
    for each in _by_summary(trials).values():
        (wrong if _summary(each).is_wrong else right).extend(trial for trial in each if trial.value is not None)
    seen = {flag for trial in (*wrong, *right) for flag in trial.flags}
    names = [flag.name for flag in Flag if flag.name in seen]
    return tuple(_flag_rate(flag, wrong, right) for flag in (*names, *sorted(seen - set(names)), "any"))


def is_silent(trial: Trial, above: float = SILENT_ABOVE) -> bool:
    """Whether a value is off by more than so many nats and carries no flag."""
    return trial.value is not None and not trial.flags and trial.off > above


def _overall(n: int, name: str, group: str, trials: Sequence[Trial]) -> Overall:
    rows = summaries(trials)
    answered = {row.task: row.mean_error for row in rows if row.mean_error is not None}
    valued = [trial for trial in trials if trial.value is not None]
    covered = [(trial.task, trial.covered) for trial in valued if trial.covered is not None]
    wrong = {row.task for row in rows if row.is_wrong}
    if_right = [held for task, held in covered if task not in wrong]
    worst = max(answered, key=lambda task: answered[task], default="")
    return Overall(
        estimator=name,
        group=group,
        n=n,
        tasks=len(answered),
        unanswered=len(rows) - len(answered),
        mean_error=_mean(list(answered.values())),
        median_error=median(answered.values()) if answered else None,
        worst_error=answered.get(worst),
        worst_task=worst,
        silent=_mean([is_silent(trial) for trial in valued]),
        coverage=_mean([held for _, held in covered]),
        intervals=len(covered),
        coverage_if_right=_mean(if_right),
        intervals_if_right=len(if_right),
        flagged=_mean([bool(trial.flags) for trial in valued]),
        seconds=fmean(row.seconds for row in rows if row.values) if answered else 0.0,
    )


def _flag_rate(flag: str, wrong: Sequence[Trial], right: Sequence[Trial]) -> FlagRate:
    def fires(trial: Trial) -> bool:
        return bool(trial.flags) if flag == "any" else flag in trial.flags

    return FlagRate(
        flag=flag,
        fired=sum(map(fires, (*wrong, *right))),
        wrong=len(wrong),
        right=len(right),
        hit=_mean(list(map(fires, wrong))),
        false_alarm=_mean(list(map(fires, right))),
    )


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
