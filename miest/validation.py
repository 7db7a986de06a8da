"""Estimators measured where the truth is known: every estimator on every task, at every size, for every seed.

One *trial* is one estimator on one sample. All else is counted from the trials: bias, spread, coverage of the
intervals, how often each flag fires where the estimator is wrong and where it is not. An estimator that refuses a
task is recorded with its reason, not left out. Estimators of other projects are measured in the same way.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from miest.estimators.estimator import require_choice, require_integer
from miest.result import spelled
from miest.scores import (
    SILENT_ABOVE,
    WRONG_NATS,
    WRONG_SHARE,
    FlagRate,
    Overall,
    Summary,
    flag_rates,
    is_silent,
    overall,
    summaries,
)
from miest.tasks.suite import SuiteName, suite
from miest.tasks.task import Task
from miest.trials import Cell, Group, Log, Method, Trial, blank, key, methods, read, run

What = Literal["trials", "summary", "overall", "flags"]

ESTIMATORS = ("auto:neural=False", "ksg", "mixed-ksg", "ross", "gaussian", "gaussian-copula", "binning", "plug-in")
"""What is measured unless told otherwise: the estimators of I(X;Y). `KDE` bounds I(T+eps;Y), another quantity."""
TRAINED = ("auto", "mine", "discriminator")
"""What is measured on the full suite besides: estimators that train critics, for up to a minute each time."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Trials of estimators on tasks whose information is known, and what they come to.

    Parameters
    ----------
    trials : tuple of Trial         by size, task, estimator and seed, in the order asked for

    Examples
    --------
    >>> found = validate(["ksg", "ksg:k=10"], tasks="quick", sizes=[1000])
    >>> print(found.report())
    >>> found.overall("continuous")[0].mean_error
    """

    trials: tuple[Trial, ...]

    @property
    def estimators(self) -> tuple[str, ...]:
        """Names of the estimators, in order."""
        return tuple(dict.fromkeys(trial.estimator for trial in self.trials))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in order."""
        return tuple(dict.fromkeys(trial.task for trial in self.trials))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of samples, in order."""
        return tuple(dict.fromkeys(trial.n for trial in self.trials))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, in order."""
        return tuple(dict.fromkeys(trial.seed for trial in self.trials))

    def summary(self) -> tuple[Summary, ...]:
        """Every estimator on every task at every size, over the seeds."""
        return summaries(self.trials)

    def overall(self, group: Group | Literal["all"] = "all") -> tuple[Overall, ...]:
        """Every estimator at every size, over the tasks of a group; empty if there is none.

        Raises
        ------
        ValueError
            if no group has that name
        """
        require_choice("group", group, (*get_args(Group), "all"))
        return overall(self.trials, group)

    def flag_rates(self, estimator: str | None = None) -> tuple[FlagRate, ...]:
        """How often each flag fires where the bias is above 10% and 0.05 nats, and where it is not.

        Parameters
        ----------
        estimator : str or None     one of `estimators`; None pools them

        Notes
        -----
        A wrong value needs one flag, not all of them: the rate that counts for the reader is that of "any".
        """
        return flag_rates(trial for trial in self.trials if estimator in (None, trial.estimator))

    def silent(self, above: float = SILENT_ABOVE) -> tuple[Trial, ...]:
        """Trials that are off by more than so many nats and carry no flag, the worst first."""
        return tuple(sorted((t for t in self.trials if is_silent(t, above)), key=lambda t: -t.off))

    def failed(self) -> tuple[Trial, ...]:
        """Trials that ended in an error other than a refusal."""
        return tuple(trial for trial in self.trials if trial.error is not None and not trial.refused)

    def report(self, *, width: int = 110) -> str:
        """Tables for the terminal: estimators over tasks, flags, and the error on every task."""
        from io import StringIO

        from rich.console import Console

        out = StringIO()
        console = Console(file=out, width=width, highlight=False)
        for table in _tables(self):
            console.print(table)
        return out.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries of everything but the trials."""
        groups = [group for group in get_args(Group) if any(trial.group == group for trial in self.trials)]
        return {
            "sizes": list(self.sizes),
            "seeds": list(self.seeds),
            "tasks": len(self.tasks),
            "overall": [asdict(row) for group in (*groups, "all") for row in self.overall(group)],
            "flags": [asdict(row) for row in self.flag_rates()],
            "summary": [asdict(row) for row in self.summary()],
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """JSON text of `to_dict`, "inf" for infinite; the trials are in the file that `validate` saves."""
        return json.dumps(spelled(self.to_dict()), indent=indent, allow_nan=False)

    def to_frame(self, what: What = "trials") -> Any:
        """A pandas DataFrame with a row for each trial, or each row of `summary`, `overall` or `flag_rates`.

        Raises
        ------
        ImportError
            if pandas is not installed
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("data frames need pandas: pip install 'miest[data]'. Or use to_csv().") from error
        return pd.DataFrame(self._records(what))

    def to_csv(self, what: What = "summary") -> str:
        """CSV text with the same rows and columns as `to_frame`; lists are joined by spaces."""
        import csv
        from io import StringIO

        out = StringIO()
        records = self._records(what)
        writer = csv.DictWriter(out, fieldnames=list(records[0]) if records else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return out.getvalue()

    def _records(self, what: What) -> list[dict[str, Any]]:
        require_choice("what", what, get_args(What))
        rows: dict[What, Callable[[], Sequence[Trial | Summary | Overall | FlagRate]]] = {
            "trials": lambda: self.trials,
            "summary": self.summary,
            "overall": self.overall,
            "flags": self.flag_rates,
        }
        return [{key: _flat(value) for key, value in asdict(row).items()} for row in rows[what]()]

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read all trials of a file that `validate` saved, in their order of completion.

        Raises
        ------
        ValueError
            if a line is not a trial
        """
        return cls(trials=tuple(read(Path(path))))


def validate(
    estimators: Sequence[Any] | Mapping[str, Any] | None = None,
    tasks: SuiteName | Sequence[Task] = "quick",
    *,
    sizes: Sequence[int] = (1000,),
    seeds: Iterable[int] = range(5),
    save: str | Path | None = None,
    resume: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Validation:
    """Error of estimators of mutual information, in nats, on distributions whose information is known.

    Parameters
    ----------
    estimators : sequence, or mapping of name to estimator      each is an estimator object; a name or a spec
        ("ksg", "ksg:k=5", "auto"); a dotted path to one of your own ("package.module:Object", a class or an object);
        or a function of (x, y). Your own returns an `MIResult` or a number of nats, and may take ``given=`` and
        ``seed=``. None takes `ESTIMATORS`, and for "full" also `TRAINED`
    tasks : "quick", "full", "traps", or Tasks
    sizes : ints                numbers of samples
    seeds : ints                each gives one sample of every task and size, the same whatever else is measured
    save : path or None         append each trial to this file, one JSON object to a line, as soon as it is done
    resume : bool               take from that file what it has; False begins it anew
    progress : callable         progress(done, total), in this process

    Returns
    -------
    Validation

    Raises
    ------
    ValueError
        if an estimator cannot be made or imported, two have one name, two tasks have one name, or a size is not valid

    Notes
    -----
    What an estimator raises is recorded: a ValueError as a refusal, all else as a failure. NaN is a failure; an
    infinite value is kept, counts as wrong, and is left out of means.
    Cost: the samples run one after another, each estimator on all cores. Inside ``joblib.parallel_config(n_jobs=4)``
    they run side by side, on whatever backend it names. The numbers are the same, up to the last bits of matrix
    products, which add in another order on another number of threads.
    Reused are trials of the same task, truth, estimator, settings, n, seed and code, where code is that of miest's
    estimators, kernels and tasks, and the file that defines an estimator of your own.
    """
    if estimators is None:
        estimators = (*TRAINED, *ESTIMATORS) if tasks == "full" else ESTIMATORS
    measured = methods(estimators)
    chosen = suite(tasks) if isinstance(tasks, str) else tuple(tasks)
    if len({task.name for task in chosen}) < len(chosen):
        raise ValueError("two tasks have the same name: results could not be told apart. Rename one with replace().")
    for n in sizes:
        require_integer("sizes", n, 2)
    seeds = tuple(seeds)
    path = None if save is None else Path(save)
    done = {key(trial): trial for trial in (read(path) if path is not None and resume and path.exists() else ())}
    asked = [
        (Cell(task=task, n=int(n), seed=int(seed)), method)
        for n in dict.fromkeys(sizes)
        for task in chosen
        for method in measured
        for seed in dict.fromkeys(seeds)
    ]
    missing: dict[Cell, list[Method]] = {}
    for cell, method in asked:
        if key(blank(cell, method)) not in done:
            missing.setdefault(cell, []).append(method)
    begun = len(asked) - sum(map(len, missing.values()))
    if progress is not None:
        progress(begun, len(asked))
    with Log(path, anew=not resume) as log:
        for count, trial in enumerate(run(missing), begun + 1):
            log.add(trial)
            done[key(trial)] = trial
            if progress is not None:
                progress(count, len(asked))
    return Validation(trials=tuple(done[key(blank(cell, method))] for cell, method in asked))


# Text


def _tables(found: Validation) -> Iterator[Any]:
    """Of rich: over tasks, flags, and for each size the error on every task."""
    from rich.text import Text

    seeds = f"{len(found.seeds)} seed{'s' * (len(found.seeds) != 1)}"
    groups = [group for group in get_args(Group) if any(trial.group == group for trial in found.trials)]
    heads = ("n", "estimator", "tasks", "|error|", "median", "worst", "on", "silent", "covered", "if right", "s")
    for group in groups:
        rows = [
            [
                str(row.n),
                row.estimator,
                f"{row.tasks}" if not row.unanswered else f"{row.tasks} of {row.tasks + row.unanswered}",
                _number(row.mean_error),
                _number(row.median_error),
                _number(row.worst_error),
                row.worst_task,
                _percent(row.silent),
                _percent(row.coverage),
                _percent(row.coverage_if_right),
                f"{row.seconds:.2g}",
            ]
            for row in sorted(found.overall(group), key=lambda row: (found.sizes.index(row.n), row.mean_error or 0.0))
            if row.tasks
        ]
        yield from _table(f"Mean |error| over {group} tasks, nats, {seeds}", heads, rows, left={1, 6})
    yield Text(
        f"silent: off by more than {SILENT_ABOVE} nats without a flag. covered: share of intervals that hold the "
        f"truth; if right: only on tasks where the bias is below {WRONG_SHARE:.0%} or {WRONG_NATS} nats.\n"
    )
    rates = [
        [rate.flag, str(rate.fired), _percent(rate.hit), _percent(rate.false_alarm)] for rate in found.flag_rates()
    ]
    first = found.flag_rates()[-1]
    title = f"Flags on {first.wrong} values of estimators that are wrong on the task, and on {first.right} others"
    yield from _table(title, ("flag", "fired", "where wrong", "elsewhere"), rates, left={0})
    for n in found.sizes:
        cells = {(row.task, row.estimator): row for row in found.summary() if row.n == n}
        answering = [
            name
            for name in found.estimators
            if any(cells[t, name].values or cells[t, name].infinite for t in found.tasks)
        ]
        lines = [
            [task, f"{cells[task, answering[0]].truth:.3f}", *(_error(cells[task, name]) for name in answering)]
            for task in found.tasks
            if answering
        ]
        yield from _table(
            f"Mean error on each task, nats, n = {n}, {seeds}", ("task", "truth", *answering), lines, left={0}
        )
    yield Text("! more than half of the values carry a flag; blank: the estimator refused; failed: another error")
    quantities: dict[str, str] = {}
    for trial in found.trials:
        if trial.quantity and not trial.quantity.startswith("I(X;Y"):
            quantities.setdefault(trial.estimator, trial.quantity)
    for name, quantity in quantities.items():
        yield Text(f"{name} estimates {quantity}; the truth is that of I(X;Y).")
    silent: dict[str, list[Trial]] = {}
    for trial in found.silent():
        silent.setdefault(trial.estimator, []).append(trial)
    for name, trials in silent.items():
        one = trials[0]
        yield Text(
            f"{name}: {len(trials)} of {sum(t.estimator == name and t.value is not None for t in found.trials)} values "
            f"silent, the worst on {one.task}, n = {one.n}, seed {one.seed}: {one.value:.3f} for {one.truth:.3f}."
        )


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: set[int]) -> Iterator[Any]:
    """A line with the title, which as a title of the table would be broken to its width, and the table."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    yield Text(title)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for i, head in enumerate(heads):
        table.add_column(Text(head), justify="left" if i in left else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    yield table


def _error(row: Summary) -> str:
    if row.bias is None and not row.infinite:
        return "failed" if row.failed else ""
    return f"{'inf' if row.bias is None else format(row.bias, '+.3f')}{'!' if (row.flagged or 0) > 0.5 else ''}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _flat(value: Any) -> Any:
    """A table has one value to a cell."""
    if isinstance(value, dict):
        return " ".join(f"{key}={share:.2g}" for key, share in value.items())
    return " ".join(map(str, value)) if isinstance(value, (tuple, list)) else value
