"""A trial: one estimator on one sample of a task whose information is known; how it is run, kept and read again."""

import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Self

from miest.estimators.estimator import Estimator
from miest.estimators.spec import imported, is_dotted, parsed, short
from miest.result import MIResult
from miest.tasks.task import Sample, Task

Group = Literal["continuous", "mixed", "discrete", "conditional"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One estimator on one sample of a task: what it said, or why it said nothing.

    Parameters
    ----------
    estimator, settings : str       the name in tables, and all settings
    task, group : str               the task, and its kind; "conditional" where it has a Z
    n, seed : int                   the sample is ``task.sample(n, sample_seed(task.name, n, seed))``
    truth, truth_error : float      nats
    value : float or None           nats; may be infinite; None where the estimator refused or failed
    interval : (low, high) or None  nats, at `level`
    quantity, kind : str            what the estimator says that it estimates, and "point" or which bound
    flags : tuple of str
    error : str or None             the reason, after the name of the exception
    refused : bool                  whether the error was a ValueError: the estimator says that it does not apply
    seconds : float                 wall time
    code : str                      digest of the code that made it; results of other code are not reused
    """

    estimator: str
    settings: str
    task: str
    group: Group
    n: int
    seed: int
    truth: float
    truth_error: float
    value: float | None = None
    interval: tuple[float, float] | None = None
    level: float | None = None
    quantity: str = ""
    kind: str = "point"
    flags: tuple[str, ...] = ()
    error: str | None = None
    refused: bool = False
    seconds: float = 0.0
    code: str = ""

    @property
    def off(self) -> float:
        """Distance from the truth, nats, less what the truth itself may be off by (two of its standard errors)."""
        if self.value is None:
            raise ValueError(f"{self.estimator} gave no value on {self.task}: {self.error}")
        return max(0.0, abs(self.value - self.truth) - 2 * self.truth_error)

    @property
    def covered(self) -> bool | None:
        """Whether the interval holds the truth, give or take two of its standard errors; None without an interval."""
        if self.interval is None:
            return None
        slack = 2 * self.truth_error
        return self.interval[0] - slack <= self.truth <= self.interval[1] + slack


@dataclass(frozen=True)
class Method:
    """An estimator with its name in tables, all its settings as text, and the code that it is."""

    name: str
    settings: str
    code: str
    call: Callable[..., Any]
    takes: frozenset[str]

    def estimate(self, rows: Sample, seed: int) -> Any:
        """What the estimator returns, given the arguments that it takes."""
        options: dict[str, Any] = {"seed": seed} if "seed" in self.takes else {}
        if rows.given is not None:
            if "given" not in self.takes:
                raise ValueError(f"{self.name} takes no given=, which a conditional task needs.")
            options["given"] = rows.given.copy()
        return self.call(rows.x.copy(), rows.y.copy(), **options)  # one that writes must not reach the next one's data


@dataclass(frozen=True)
class Cell:
    """The sample that several estimators see."""

    task: Task
    n: int
    seed: int


def sample_seed(task: str, n: int, seed: int) -> int:
    """The seed of a sample: its own for each task and size, as tasks are often maps of the same Gaussian pair.

    With one seed for all, an unlucky draw would be off in the same way on many tasks, and a mean over them as noisy as
    a single one.
    """
    return _digest(f"sample|{task}|{n}|{seed}")


def _digest(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big") >> 1


def run(missing: Mapping[Cell, Sequence[Method]]) -> Iterator[Trial]:
    """Trials as they are done: through joblib where the caller has configured it, otherwise one by one."""
    from joblib import Parallel, delayed, effective_n_jobs
    from joblib.parallel import get_active_backend

    backend, jobs = get_active_backend()
    if effective_n_jobs(jobs) == 1:  # not through joblib, in whose workers the kernels would keep to one thread
        for cell, methods in missing.items():
            yield from _measure(cell, methods)
        return
    streams = getattr(backend, "supports_return_generator", False)
    work = Parallel(n_jobs=jobs, return_as="generator_unordered" if streams else "list")
    for trials in work(delayed(_measured)(cell, methods) for cell, methods in missing.items()):
        yield from trials


def _measured(cell: Cell, methods: Sequence[Method]) -> list[Trial]:
    return list(_measure(cell, methods))


def _measure(cell: Cell, methods: Sequence[Method]) -> Iterator[Trial]:
    rows = cell.task.sample(cell.n, sample_seed(cell.task.name, cell.n, cell.seed))
    # An estimator that drew from the stream of the sample would draw the data again.
    seed = _digest(f"estimator|{cell.task.name}|{cell.n}|{cell.seed}")
    for method in methods:
        before, started = blank(cell, method), perf_counter()
        try:
            told = _told(method.estimate(rows, seed))
        except Exception as error:  # an estimator of somebody else may raise anything, and the others must go on
            reason = " ".join(str(error).split())
            told = {"error": f"{type(error).__name__}: {reason}", "refused": isinstance(error, ValueError)}
        yield _trial(asdict(before) | told | {"seconds": perf_counter() - started})


def _told(result: Any) -> dict[str, Any]:
    """What a trial takes from a result, which is an MIResult or anything that float() takes."""
    value = float(result)
    if math.isnan(value):
        raise ArithmeticError("the value is nan, which is no number of nats.")
    if not isinstance(result, MIResult):
        return {"value": value}
    return {
        "value": value,
        "interval": result.interval and tuple(map(float, result.interval)),
        "level": result.level if result.interval else None,
        "quantity": result.quantity,
        "kind": result.kind,
        "flags": tuple(flag.name for flag in result.flags),
    }


def blank(cell: Cell, method: Method) -> Trial:
    """The trial before it is run."""
    return Trial(
        estimator=method.name,
        settings=method.settings,
        task=cell.task.name,
        group="conditional" if cell.task.is_conditional else cell.task.kind,
        n=cell.n,
        seed=cell.seed,
        truth=cell.task.mi,
        truth_error=cell.task.mi_error,
        code=method.code,
    )


def methods(estimators: Sequence[Any] | Mapping[str, Any]) -> list[Method]:
    """Estimators in any of the forms that `miest.validate` takes.

    Raises
    ------
    ValueError
        if there is none, one cannot be made, or two have the same name
    """
    if isinstance(estimators, str) or not isinstance(estimators, (Sequence, Mapping)):
        estimators = [estimators]
    named = estimators.items() if isinstance(estimators, Mapping) else [(None, each) for each in estimators]
    made = [_method(given, name) for name, given in named]
    names = [method.name for method in made]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several estimators are called {', '.join(twice)}: pass a mapping of names to estimators.")
    if not made:
        raise ValueError("there is no estimator to measure: pass at least one, or None for the standard ones.")
    return made


def _method(estimator: Any, name: str | None) -> Method:
    text = estimator if isinstance(estimator, str) else None
    if text is not None:
        estimator = imported(text) if is_dotted(text) else parsed(text)
    if isinstance(estimator, type):
        estimator = estimator()
    call = getattr(estimator, "estimate", estimator)
    if not callable(call):
        raise ValueError(f"{text or estimator!r} is no estimator: it has no method estimate(x, y) and is no function.")
    if name is None and text is not None and not isinstance(estimator, Estimator):
        name = text.strip()
    if name is None:
        named = short(estimator) if hasattr(estimator, "__dataclass_fields__") else None
        name = named or getattr(estimator, "__name__", None) or type(estimator).__name__
    settings = repr(estimator)
    return Method(
        name=name,
        settings=(text or name) if " at 0x" in settings else settings,  # an address is another one next time
        code=_code(call),
        call=call,
        takes=_taken(call),
    )


def _taken(call: Callable[..., Any]) -> frozenset[str]:
    """Which of given= and seed= a function takes."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except ValueError:  # compiled, without a signature
        return frozenset()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return frozenset({"given", "seed"})
    return frozenset(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))


def _code(call: Callable[..., Any]) -> str:
    """Digest of the code behind an estimator: miest's, and the file or the cell that holds somebody else's."""
    digest = _own_code()
    try:
        theirs = inspect.getsourcefile(inspect.unwrap(call))
        if theirs is not None and Path(theirs).is_relative_to(Path(__file__).parent):
            return digest
        source = Path(theirs).read_bytes() if theirs and Path(theirs).exists() else inspect.getsource(call).encode()
    except (TypeError, OSError):  # compiled, or typed in
        return digest
    return sha256(digest.encode() + source).hexdigest()[:12]


@lru_cache(maxsize=1)
def _own_code() -> str:
    """Digest of all that an estimate of miest's own depends on."""
    import miest_kernels

    here, kernels = Path(__file__).parent, Path(miest_kernels.__file__).parent
    digest = sha256((here / "samples.py").read_bytes() + (here / "traits.py").read_bytes())
    for folder in (here / "estimators", here / "tasks", kernels):
        for file in sorted(folder.rglob("*")):
            if file.suffix in {".py", ".cu"}:
                digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:12]


# The file


class Log:
    """Appends trials to a file, each on a line of its own, or to nothing."""

    def __init__(self, path: Path | None, *, anew: bool) -> None:
        self._path, self._anew = path, anew

    def __enter__(self) -> Self:
        self._file = None
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not self._anew:
                _drop_torn_line(self._path)
            self._file = self._path.open("w" if self._anew else "a", encoding="utf-8")
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, trial: Trial) -> None:
        """Write a trial at once, so that a run that is stopped loses none."""
        if self._file is not None:
            self._file.write(json.dumps(asdict(trial)) + "\n")
            self._file.flush()


def _drop_torn_line(path: Path) -> None:
    """Cut what follows the last end of line: the writer was stopped within it."""
    if path.exists():
        text = path.read_bytes()
        if not text.endswith(b"\n"):
            path.write_bytes(text[: text.rfind(b"\n") + 1])


def read(path: Path) -> Iterator[Trial]:
    """The trials of a file that `Log` wrote; a last line that was cut short is left out.

    Raises
    ------
    ValueError
        if a line is not a trial
    """
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            return  # torn
        try:
            yield _trial(json.loads(line))
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise ValueError(
                f"line {number} of {path} is not a trial written by this version of miest: move the file away, or pass "
                "resume=False to begin it anew."
            ) from error


def _trial(plain: Mapping[str, Any]) -> Trial:
    known = {field.name for field in fields(Trial)}
    if set(plain) != known:
        raise ValueError(f"missing or unknown: {', '.join(sorted(set(plain) ^ known))}")
    interval = plain["interval"]
    return Trial(**{**plain, "interval": interval and tuple(interval), "flags": tuple(plain["flags"])})


def key(trial: Trial) -> tuple[Any, ...]:
    """What must be equal for one trial to stand for another: all that goes into it."""
    t = trial
    return t.estimator, t.settings, t.code, t.task, t.truth, t.truth_error, t.n, t.seed
