"""validate, and what is counted from its trials; the command; the heat map.

exact       counts worked by hand from trials made by hand
properties  order, backend and interruption change nothing; the sample is what the seed says
truth       real estimators on real tasks
refusals    what an estimator raises is recorded; what the caller got wrong is raised
workflow    the command, its files, a second run, an estimator of somebody else
"""

import csv
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from joblib import parallel_config
from matplotlib.patches import Polygon, Rectangle

import miest
from miest.cli import main
from miest.estimators.spec import imported, is_dotted, parsed, short
from miest.plotting import plot_errors
from miest.result import Flag, MIResult
from miest.tasks import Task, bivariate_gaussian, conditional_gaussian, named, suite
from miest.trials import Trial, sample_seed
from miest.validation import Validation, validate

GAUSSIAN = bivariate_gaussian(0.8, name="gaussian")
GIVEN = named("collider")


def trial(value: float | None, **more) -> Trial:
    made = {"estimator": "e", "settings": "e", "task": "t", "group": "continuous", "n": 100, "seed": 0}
    made |= {"truth": 1.0, "truth_error": 0.0}
    return Trial(**{**made, "value": value, **more})


def over_seeds(*values: float | None, **more) -> list[Trial]:
    return [trial(value, seed=seed, **more) for seed, value in enumerate(values)]


@dataclass(frozen=True, kw_only=True)
class Says:
    """An estimator that says what it was told to, whatever the data."""

    value: float = 0.5
    flags: tuple[Flag, ...] = ()
    interval: tuple[float, float] | None = None

    def estimate(self, x, y):
        return MIResult(
            value=self.value, n_samples=len(x), estimator=self, flags=self.flags, interval=self.interval, quantity="Q"
        )


class Breaks:
    def estimate(self, x, y, *, given=None, seed=None):
        raise RuntimeError("out\nof order")


def correlation(x, y):
    """Of Gaussians, as a plain function."""
    rho = np.corrcoef(x[:, 0], y[:, 0])[0, 1]
    return -0.5 * np.log1p(-rho * rho)


# --- exact


def test_summary_is_the_mean_spread_and_error_over_seeds():
    (row,) = Validation(trials=tuple(over_seeds(1.1, 0.7, 1.5))).summary()
    assert (row.values, row.refused, row.failed) == (3, 0, 0)
    assert row.bias == pytest.approx(0.1)
    assert row.spread == pytest.approx(0.4)
    assert row.rmse == pytest.approx(math.sqrt((0.01 + 0.09 + 0.25) / 3))
    assert row.mean_error == pytest.approx(0.3)
    assert row.bias_error == pytest.approx(0.4 / math.sqrt(3))
    assert row.coverage is None
    assert row.intervals == 0


def test_the_error_of_the_truth_counts():
    (row,) = Validation(trials=tuple(over_seeds(1.0, 1.0, truth_error=0.3))).summary()
    assert row.bias_error == pytest.approx(0.3)
    assert trial(1.7, truth_error=0.3).off == pytest.approx(0.1)
    assert trial(1.5, truth_error=0.3).off == 0.0
    assert trial(2.0, interval=(1.5, 2.5), truth_error=0.3).covered
    assert not trial(2.0, interval=(1.5, 2.5), truth_error=0.2).covered
    wrong = Validation(trials=tuple(over_seeds(1.2, 1.2)))
    assert wrong.summary()[0].is_wrong
    doubtful = Validation(trials=tuple(over_seeds(1.2, 1.2, truth_error=0.08)))
    assert not doubtful.summary()[0].is_wrong


def test_coverage_counts_the_intervals_that_there_are():
    trials = over_seeds(1.0, 1.0, 1.0, 1.0)
    trials = [replace(t, interval=i) for t, i in zip(trials, [(0.9, 1.1), (1.05, 1.2), (1.0, 2.0), None], strict=True)]
    (row,) = Validation(trials=tuple(trials)).summary()
    assert (row.coverage, row.intervals) == (pytest.approx(2 / 3), 3)


def test_refusals_and_failures_are_counted_and_leave_the_rest_alone():
    trials = [*over_seeds(1.0, 2.0), trial(None, seed=2, error="ValueError: no", refused=True)]
    trials += [trial(None, seed=3, error="OSError: gone")]
    found = Validation(trials=tuple(trials))
    (row,) = found.summary()
    assert (row.values, row.refused, row.failed, row.error) == (2, 1, 1, "ValueError: no")
    assert row.bias == pytest.approx(0.5)
    assert [t.seed for t in found.failed()] == [3]


def test_infinite_values_are_wrong_and_stay_out_of_means():
    found = Validation(trials=(trial(math.inf, flags=("DETERMINISTIC",)), trial(1.2, seed=1), trial(math.inf, seed=2)))
    (row,) = found.summary()
    assert (row.values, row.infinite, row.failed, row.bias) == (1, 2, 0, pytest.approx(0.2))
    assert row.is_wrong
    assert found.silent() == (found.trials[2],)
    assert found.flag_rates()[0].hit == pytest.approx(1 / 3)
    only = Validation(trials=found.trials[:1])
    assert only.overall()[0].unanswered == 1
    assert "inf!" in only.report()
    _, ax = plot_errors(only)
    (infinite,) = ax.texts
    (box,) = (patch for patch in ax.patches if isinstance(patch, Rectangle))
    assert (infinite.get_text(), infinite.get_color()) == ("∞", "white")
    assert box.get_facecolor()[0] > 2 * box.get_facecolor()[2]  # the red end


def test_overall_is_over_tasks_not_over_trials():
    """Three seeds on an easy task must not outweigh one on a hard task."""
    trials = [*over_seeds(1.1, 0.9, 1.1, task="easy"), *over_seeds(3.0, task="hard"), *over_seeds(1.3, task="middle")]
    trials += [trial(None, task="refused", error="ValueError: no", refused=True)]
    (row,) = Validation(trials=tuple(trials)).overall()
    assert (row.tasks, row.unanswered, row.worst_task) == (3, 1, "hard")
    assert row.mean_error == pytest.approx((0.1 + 2.0 + 0.3) / 3)
    assert row.median_error == pytest.approx(0.3)
    assert row.worst_error == pytest.approx(2.0)
    assert row.silent == pytest.approx(2 / 5)


def test_coverage_if_right_leaves_out_the_tasks_on_which_it_is_wrong():
    right = [replace(t, interval=(0.9, 1.1)) for t in over_seeds(1.0, 1.02, task="right")]
    wrong = [replace(t, interval=(1.9, 2.1)) for t in over_seeds(2.0, 2.0, task="wrong")]
    (row,) = Validation(trials=(*right, *wrong)).overall("continuous")
    assert (row.coverage, row.intervals) == (0.5, 4)
    assert (row.coverage_if_right, row.intervals_if_right) == (1.0, 2)


def test_overall_takes_one_group():
    found = Validation(trials=(trial(2.0), trial(1.5, task="u", group="discrete")))
    assert found.overall("discrete")[0].mean_error == pytest.approx(0.5)
    assert found.overall("conditional") == ()
    with pytest.raises(ValueError, match="group='Discrete' must be one of"):
        found.overall("Discrete")  # type: ignore[arg-type]


def test_flag_rates():
    """Four values where the bias is 0.5, two of them with TIES; five elsewhere, one with TIES and one with SKEWED."""
    wrong = over_seeds(1.5, 1.5, 1.5, 1.5, task="wrong")
    wrong[0] = replace(wrong[0], flags=("TIES",))
    wrong[1] = replace(wrong[1], flags=("TIES",))
    right = over_seeds(1.0, 1.0, 1.0, 1.0, 1.02, task="right")
    right[0] = replace(right[0], flags=("TIES",))
    right[1] = replace(right[1], flags=("SKEWED",))
    other = over_seeds(1.0, estimator="other")
    found = Validation(trials=(*wrong, *right, *other))
    ties, skewed, any_flag = found.flag_rates("e")
    assert (ties.flag, ties.fired, ties.wrong, ties.right) == ("TIES", 3, 4, 5)
    assert (ties.hit, ties.false_alarm) == (0.5, pytest.approx(0.2))
    assert (skewed.flag, skewed.hit, skewed.false_alarm) == ("SKEWED", 0.0, pytest.approx(0.2))
    assert (any_flag.flag, any_flag.fired, any_flag.false_alarm) == ("any", 4, pytest.approx(0.4))
    assert found.flag_rates()[-1].right == 6


@pytest.mark.parametrize(("value", "truth", "wrong"), [(1.06, 1.0, False), (0.04, 0, False), (0.06, 0, True)])
def test_wrong_needs_a_tenth_and_a_twentieth(value, truth, wrong):
    (row,) = Validation(trials=(trial(value, truth=truth),)).summary()
    assert row.is_wrong is wrong


def test_silent_errors_are_unflagged_and_the_worst_comes_first():
    a, b = trial(1.3, seed=1), trial(0.2, seed=2)
    found = Validation(trials=(trial(1.2), a, b, trial(9.0, seed=3, flags=("TIES",))))
    assert found.silent() == (b, a)
    assert found.silent(above=0.5) == (b,)


# --- properties


def test_the_order_is_that_asked_for():
    found = validate({"b": Says(), "a": Says(value=0.1)}, [GAUSSIAN, GIVEN], sizes=(30, 20), seeds=(1, 0))
    assert [(t.n, t.task, t.estimator, t.seed) for t in found.trials[:5]] == [
        (30, "gaussian", "b", 1),
        (30, "gaussian", "b", 0),
        (30, "gaussian", "a", 1),
        (30, "gaussian", "a", 0),
        (30, "collider", "b", 1),
    ]
    assert (found.estimators, found.tasks, found.sizes, found.seeds) == (
        ("b", "a"),
        ("gaussian", "collider"),
        (30, 20),
        (1, 0),
    )


def test_the_sample_is_that_of_its_seed():
    (found,) = validate(correlation, [GAUSSIAN], sizes=[50], seeds=[3]).trials
    x, y = GAUSSIAN.sample(50, sample_seed("gaussian", 50, 3))
    assert found.value == correlation(x, y)
    assert len({sample_seed(task, n, seed) for task in "ab" for n in (50, 60) for seed in (0, 1)}) == 8


def test_estimators_get_a_seed_that_is_not_that_of_the_sample():
    drawn = []

    def draws(x, y, *, seed):
        drawn.append(seed)
        return float(np.random.default_rng(seed).standard_normal())

    a = validate(draws, [GAUSSIAN], sizes=[50], seeds=[0, 1])
    b = validate({"draws": draws, "again": draws}, [GAUSSIAN, GIVEN], sizes=[60, 50], seeds=[1, 0])
    assert len(set(drawn)) == len({(t.task, t.n, t.seed) for t in b.trials if t.value is not None})
    assert not set(drawn) & {sample_seed("gaussian", n, seed) for n in (50, 60) for seed in (0, 1)}
    values = {(t.estimator, t.task, t.n, t.seed): t.value for t in b.trials}
    assert all(values["draws", t.task, t.n, t.seed] == t.value for t in a.trials)


def test_an_estimator_that_writes_into_its_data_spoils_nothing():
    def spoils(x, y):
        x[:] = 0
        return 0.0

    found = validate({"spoils": spoils, "after": correlation}, [GAUSSIAN], sizes=[50], seeds=[0])
    assert found.trials[1].value == validate(correlation, [GAUSSIAN], sizes=[50], seeds=[0]).trials[0].value


def plain(found: Validation) -> list[dict]:
    return [asdict(t) | {"seconds": 0} for t in found.trials]


def test_side_by_side_gives_the_same():
    kwargs = {"tasks": [GAUSSIAN, GIVEN, named("staircase-5")], "sizes": [60, 120], "seeds": range(2)}
    alone = validate(["ksg", "ross", "gaussian"], **kwargs)
    counts = []
    with parallel_config(backend="threading", n_jobs=2):
        threads = validate(["ksg", "ross", "gaussian"], **kwargs, progress=lambda *c: counts.append(c))
    assert plain(threads) == plain(alone)
    assert counts == [(i, 36) for i in range(37)]


def test_processes_give_the_same(tmp_path):
    kwargs = {"tasks": [GAUSSIAN, GIVEN], "sizes": [60], "seeds": range(2)}
    with parallel_config(backend="loky", n_jobs=2):
        found = validate(["gaussian"], **kwargs, save=tmp_path / "trials.jsonl")
    assert plain(found) == plain(validate(["gaussian"], **kwargs))
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 4


class Counts:
    """An estimator that counts its calls, and can be told to stop the run."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.calls, self.stop_at = 0, stop_at

    def estimate(self, x, y):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return correlation(x, y)


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "folder" / "trials.jsonl"
    kwargs = {"tasks": [GAUSSIAN], "sizes": [50, 60], "seeds": range(3), "save": path}
    with pytest.raises(KeyboardInterrupt):
        validate(Counts(stop_at=4), **kwargs)
    with path.open("a") as file:
        file.write('{"estimator": "Cou')  # the machine went down in the middle of a line
    counts, shown = Counts(), []
    found = validate(counts, **kwargs, progress=lambda *c: shown.append(c))
    assert counts.calls == 3
    assert shown == [(3, 6), (4, 6), (5, 6), (6, 6)]
    assert plain(found) == plain(validate(Counts(), **{**kwargs, "save": None}))
    assert set(Validation.load(path).trials) == set(found.trials)
    assert validate(counts, **kwargs) == found
    assert counts.calls == 3


def test_what_has_changed_is_measured_again(tmp_path):
    path = tmp_path / "trials.jsonl"
    kwargs = {"sizes": [50], "seeds": [0], "save": path}
    first = validate({"e": Says()}, [GAUSSIAN], **kwargs)
    assert validate({"e": Says(value=2.0)}, [GAUSSIAN], **kwargs).trials[0].value == 2.0
    other = replace(bivariate_gaussian(0.5), name="gaussian")
    assert validate({"e": Says()}, [other], **kwargs).trials[0].truth == other.mi
    assert validate({"e": Says()}, [GAUSSIAN], **kwargs) == first
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line.replace(first.trials[0].code, "0" * 12) for line in lines) + "\n")
    validate({"e": Says()}, [GAUSSIAN], **kwargs)
    assert len(path.read_text().splitlines()) == len(lines) + 1
    validate({"e": Says()}, [GAUSSIAN], **kwargs, resume=False)
    assert len(path.read_text().splitlines()) == 1


def test_an_edited_estimator_is_another(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    codes = []
    for value in (1.0, 2.0):
        (tmp_path / f"mine{value:.0f}.py").write_text(f"def estimate(x, y):\n    return {value}\n")
        codes.append(validate(f"mine{value:.0f}:estimate", [GAUSSIAN], sizes=[20], seeds=[0]).trials[0].code)
    assert codes[0] != codes[1]
    own = validate(["ksg", "auto"], [GAUSSIAN], sizes=[20], seeds=[0])
    assert len({t.code for t in own.trials}) == 1


# --- truth


def test_ksg_and_gaussian_are_right_on_a_gaussian_pair_and_ksg_only_on_a_cross():
    found = validate(["auto", "ksg", "gaussian"], [GAUSSIAN, named("cross")], sizes=[1000], seeds=range(4))
    rows = {(row.estimator, row.task): row for row in found.summary()}
    for name in ("Auto", "KSG", "Gaussian"):
        row = rows[name, "gaussian"]
        assert abs(row.bias) < 4 * row.bias_error
        assert 0 < row.spread < 0.1
    assert rows["KSG", "cross"].mean_error < 0.1
    assert rows["Gaussian", "cross"].bias == pytest.approx(-named("cross").mi, abs=0.03)
    assert rows["Gaussian", "cross"].is_wrong
    assert found.overall()[2].worst_task == "cross"


def test_the_standard_estimators_answer_the_quick_suite():
    found = validate(sizes=[120], seeds=[0])
    assert found.tasks == tuple(task.name for task in suite("quick"))
    assert not found.failed()
    rows = {row.estimator: row for row in found.overall()}
    assert list(rows) == [
        "Auto(neural=False)",
        "KSG",
        "MixedKSG",
        "Ross",
        "Gaussian",
        "GaussianCopula",
        "Binning",
        "PlugIn",
    ]
    assert rows["Auto(neural=False)"].unanswered == 0
    assert rows["PlugIn"].tasks == 1
    refused = {(t.estimator, t.task): t.error for t in found.trials if t.refused}
    assert "needs one discrete and one continuous" in refused["Ross", "cross"]


# --- refusals


def test_what_an_estimator_raises_is_recorded_and_the_others_go_on():
    found = validate({"breaks": Breaks(), "says": Says(), "nan": Says(value=math.nan)}, [GAUSSIAN, GIVEN], sizes=[30])
    assert {t.error for t in found.trials if t.estimator == "breaks"} == {"RuntimeError: out of order"}
    assert {t.error for t in found.failed() if t.estimator == "nan"} == {
        "ArithmeticError: the value is nan, which is no number of nats."
    }
    says = [t for t in found.trials if t.estimator == "says" and t.task == "collider"]
    assert all(t.refused and "says takes no given=" in t.error for t in says)
    assert len([t for t in found.trials if t.value == 0.5]) == 5


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"estimators": ["kgs"]}, "'kgs' is not one of aamine, auto"),
        ({"estimators": ["ksg:k=0"]}, "ksg:k=0: k=0 must be an integer of at least 1"),
        ({"estimators": []}, "no estimator to measure"),
        ({"estimators": ["ksg", miest.KSG()]}, "several estimators are called KSG"),
        ({"estimators": [3]}, "3 is no estimator"),
        ({"estimators": ["nowhere.at.all:Object"]}, "'nowhere.at.all' cannot be imported"),
        ({"estimators": ["math:Object"]}, "'math' has no 'Object'"),
        ({"estimators": ["math:pi"]}, "'math:pi' is no estimator"),
        ({"estimators": ["math:sqrt(x=1)"]}, "sqrt is none"),
        ({"tasks": [GAUSSIAN, GAUSSIAN]}, "two tasks have the same name"),
        ({"tasks": "fast"}, "No suite is called 'fast'"),
        ({"sizes": [1]}, "sizes=1 must be an integer of at least 2"),
        ({"sizes": [10.5]}, r"sizes=10\.5 must be an integer"),
    ],
)
def test_what_the_caller_got_wrong_is_raised(kwargs, message):
    with pytest.raises(ValueError, match=message):
        validate(**{"estimators": ["ksg"], "tasks": [GAUSSIAN], "sizes": [20], "seeds": [0], **kwargs})


@pytest.mark.parametrize("line", ["{}", "[1]", "not json", '{"estimator": "KSG"}'])
def test_a_file_of_something_else_is_left_alone(tmp_path, line):
    path = tmp_path / "trials.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"line 1 of .*trials\.jsonl is not a trial"):
        validate(["ksg"], [GAUSSIAN], sizes=[20], seeds=[0], save=path)
    assert path.read_text() == line + "\n"


def test_values_that_are_missing_have_no_error():
    with pytest.raises(ValueError, match="gave no value on t: why"):
        _ = trial(None, error="why").off


# --- estimators from text


def test_text_names_estimators():
    assert parsed("ksg:k=5") == parsed("KSG(k=5)") == miest.KSG(k=5)
    assert parsed("auto") == miest.Auto()
    assert short(parsed("mixed-ksg")) == "MixedKSG"
    for text in ("ksg:k=5", "ksg:k", "auto:k", "ksg", "KSG(k=5)"):
        assert not is_dotted(text)
    assert is_dotted("a.b:C")
    assert is_dotted("a:C.d(width=3)")


def test_dotted_paths_are_imported(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text(
        "class Fixed:\n"
        "    def __init__(self, value=1.0):\n"
        "        self.value = value\n"
        "    def estimate(self, x, y):\n"
        "        return self.value\n"
        "class Space:\n"
        "    made = Fixed(3.0)\n"
        "def function(x, y, **options):\n"
        "    return float(len(options['given'])) if 'given' in options else 0.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    specs = ["theirs:Fixed", "theirs:Fixed(value=2.0)", "theirs:Space.made", "theirs:function"]
    found = validate(specs, [GAUSSIAN, GIVEN], sizes=[20], seeds=[0])
    assert found.estimators == tuple(specs)
    assert [t.value for t in found.trials if t.task == "gaussian"] == [1.0, 2.0, 3.0, 0.0]
    assert [t.value for t in found.trials if t.task == "collider"] == [None, None, None, 20.0]
    with pytest.raises(ValueError, match="unexpected keyword"):
        imported("theirs:Fixed(width=2)")


# --- tables and pictures


@pytest.fixture(scope="module")
def found() -> Validation:
    """Three estimators on three tasks: sound, flagged, refused, failed."""
    estimators = {
        "sound": correlation,
        "flagged": Says(value=2.0, flags=(Flag.TIES,), interval=(1.9, 2.1)),
        "broken": Breaks(),
    }
    return validate(estimators, [GAUSSIAN, GIVEN], sizes=[50, 200], seeds=range(3))


def test_the_report_has_every_table(found):
    text = found.report()
    assert max(map(len, text.splitlines())) <= 110
    for part in ("continuous tasks", "conditional tasks", "TIES", "n = 50", "n = 200", "failed", "+1.489!"):
        assert part in text
    assert "flagged estimates Q; the truth is that of I(X;Y)" in text
    assert "0%" in text  # coverage


def test_csv_and_frame_hold_the_same(found):
    for what, rows in (("trials", found.trials), ("summary", found.summary()), ("overall", found.overall())):
        read = list(csv.DictReader(StringIO(found.to_csv(what))))
        frame = found.to_frame(what)
        assert len(read) == len(rows) == len(frame)
        assert list(read[0]) == list(frame.columns)
    frame = found.to_frame("summary")
    chosen = frame[(frame.estimator == "flagged") & (frame.task == "gaussian")]
    assert chosen.bias.tolist() == pytest.approx([2 - GAUSSIAN.mi] * 2)
    assert set(chosen["flags"]) == {"TIES=1"}
    assert Validation(trials=()).to_csv() == "\n"


def test_json_is_strict_and_complete(found):
    made = json.loads(found.to_json(), parse_constant=lambda name: pytest.fail(name))
    assert made["sizes"] == [50, 200]
    assert {row["group"] for row in made["overall"]} == {"continuous", "conditional", "all"}
    assert len(made["summary"]) == 12
    assert [row["flag"] for row in made["flags"]] == ["TIES", "any"]


def test_json_is_strict_where_the_truth_is_infinite():
    def infinite(x, y):
        return math.inf

    made = miest.validate(
        {"infinite": infinite, "ksg": "ksg"}, [miest.tasks.named("gaussian-1x1-rho0.8")], sizes=[50], seeds=range(2)
    )
    text = Validation(trials=tuple(replace(trial, truth=math.inf) for trial in made.trials)).to_json()
    assert '"truth": "inf"' in text
    json.loads(text, parse_constant=lambda name: pytest.fail(name))


def test_the_heat_map_shows_errors_flags_and_refusals(found):
    figure, ax = plot_errors(found, n=200, title="all")
    texts = {text.get_text() for text in ax.texts}
    assert "+1.49" in texts
    assert [label.get_text() for label in ax.get_xticklabels()] == ["sound", "flagged", "broken"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["gaussian  0.51", f"collider  {GIVEN.mi:.2f}"]
    boxes = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert sorted((box.get_hatch() or "") for box in boxes) == ["", "", "////", "////", "xxxx", "xxxx"]
    corners = [patch for patch in ax.patches if isinstance(patch, Polygon)]
    assert [tuple(corner.get_xy()[0].astype(int)) for corner in corners] == [(1, 0)]
    sound, flagged = (box for box in boxes if not box.get_hatch())
    assert sum(sound.get_facecolor()[:3]) > sum(flagged.get_facecolor()[:3])
    red, _, blue, _ = flagged.get_facecolor()
    assert red > blue
    assert "n = 200, 3 seeds" in ax.get_xlabel()
    figure.savefig(StringIO(), format="svg")


def test_the_heat_map_takes_the_largest_n_and_refuses_others(found):
    assert "n = 200" in plot_errors(found)[1].get_xlabel()
    with pytest.raises(ValueError, match="nothing was measured at n=77: there is 50, 200"):
        plot_errors(found, n=77)
    with pytest.raises(ValueError, match="no trial at all"):
        plot_errors(Validation(trials=()))


# --- workflow


def run(*arguments: str, code: int = 0):
    result = CliRunner().invoke(main, ["validate", *arguments])
    assert result.exit_code == code, result.output
    return result


QUICK = ("--suite", "traps", "--n", "60", "--seeds", "2", "--estimator", "gaussian")


def test_the_command_writes_its_folder_and_goes_on_from_it(tmp_path):
    out = tmp_path / "made"
    first = run(*QUICK, "--out", str(out))
    assert "Mean error on each task, nats, n = 60, 2 seeds" in first.stdout
    assert first.stderr == ""
    assert sorted(file.name for file in out.iterdir()) == [
        "errors-n60.png",
        "summary.csv",
        "summary.json",
        "trials.jsonl",
    ]
    lines = (out / "trials.jsonl").read_text()
    assert run(*QUICK, "--out", str(out)).stdout == first.stdout
    assert (out / "trials.jsonl").read_text() == lines
    run(*QUICK, "--out", str(out), "--fresh")
    assert (out / "trials.jsonl").read_text() != lines  # other seconds
    assert len((out / "trials.jsonl").read_text().splitlines()) == len(lines.splitlines())
    summary = json.loads((out / "summary.json").read_text())
    assert {row["task"] for row in summary["summary"]} == {task.name for task in suite("traps")}
    assert len(list(csv.DictReader(StringIO((out / "summary.csv").read_text())))) == len(suite("traps"))


@pytest.mark.parametrize(
    ("option", "reads"), [("--json", json.loads), ("--csv", lambda t: list(csv.reader(StringIO(t))))]
)
def test_results_to_stdout_leave_the_tables_to_stderr(option, reads):
    result = run(*QUICK, option, "-")
    assert reads(result.stdout)
    assert "Mean error on each task" in result.stderr


def test_a_terminal_gets_a_bar_and_tables_that_fit(monkeypatch):
    import click

    monkeypatch.setattr(click.testing._NamedTextIOWrapper, "isatty", lambda self: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    result = run(*QUICK)
    assert "traps tasks" in result.stderr
    assert "18/18" in result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_help_is_quick():
    code = (
        "import sys; from miest.cli import main\n"
        "try: main(['validate', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'numpy', 'scipy', 'numba', 'rich', 'joblib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "miest validate --suite full --n 10000" in done.stdout


def test_the_command_draws(tmp_path):
    run(*QUICK, "--n", "70", "--plot", str(tmp_path / "a.png"), "--csv", str(tmp_path / "a.csv"))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert {row["n"] for row in csv.DictReader(StringIO((tmp_path / "a.csv").read_text()))} == {"60", "70"}


def test_a_failure_is_exit_code_1_and_a_refusal_is_not(tmp_path, monkeypatch):
    (tmp_path / "odd.py").write_text("def raises(x, y):\n    raise KeyError('k')\n")
    monkeypatch.syspath_prepend(tmp_path)
    result = run(*QUICK, "--estimator", "odd:raises", code=1)
    errors = result.stderr.splitlines()
    assert len(errors) == len(suite("traps"))
    assert errors[0] == "Error: odd:raises, trap-skewed, n = 60: KeyError: 'k'"
    run(*QUICK, "--estimator", "ross")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--estimator", "kgs"], 2, "'kgs' is not one of"),
        (["--estimator", "nowhere:x"], 2, "cannot be imported"),
        (["--suite", "fast"], 2, "'fast' is not one of"),
        (["--n", "1"], 2, "1 is not in the range"),
        (["--jobs", "0"], 2, "0 jobs do nothing"),
        (["--json", "-", "--csv", "-"], 2, "cannot both go to stdout"),
        (["--json", "/no/such/folder/a.json"], 1, "--json /no/such/folder/a.json cannot be written"),
        (["--plot", "/no/such/folder/a.png"], 1, "a.png cannot be written"),
    ],
)
def test_what_is_wrong_with_the_command(arguments, code, message):
    result = run(*QUICK, *arguments, code=code)
    assert message in " ".join(result.stderr.replace("│", " ").split()), result.stderr


def test_a_broken_file_of_trials_is_named(tmp_path):
    (tmp_path / "trials.jsonl").write_text("{}\n")
    assert "line 1 of" in run(*QUICK, "--out", str(tmp_path), code=1).stderr


def test_the_real_command_measures_a_module_that_lies_where_it_runs(tmp_path):
    (tmp_path / "ours.py").write_text("def half(x, y):\n    return 0.5\n")
    script = Path(sys.executable).with_name("miest")
    asked = "--suite traps --estimator ours:half --n 50 --seeds 1 --jobs 2 --json -"
    done = subprocess.run(
        [str(script), "validate", *asked.split()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["summary"]
    skewed = next(row for row in rows if row["task"] == "trap-skewed")
    assert skewed["bias"] == pytest.approx(0.5 - skewed["truth"])
    assert not re.search(r"\x1b|Traceback", done.stderr)


def test_conditional_tasks_made_by_hand_are_a_group_of_their_own():
    task = conditional_gaussian([[1, 0.5, 0.2], [0.5, 1, 0.3], [0.2, 0.3, 1]], 1, 1, name="mine")
    assert isinstance(task, Task)
    (found,) = validate(["ksg"], [task], sizes=[100], seeds=[0]).trials
    assert (found.group, found.quantity) == ("conditional", "I(X;Y|Z)")
