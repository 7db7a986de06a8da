"""MINE, NWJ, InfoNCE, SMILE, Discriminator and CLUB: the estimators around critics.

exact       the best critic, given, is read as the bounds say; folds and their weights; what a fold never sees
properties  seeds, torch's own generator, kinds of input, symbols, precision
truth       Gaussian information; independence; with the defaults: one-hot classes, 25 columns through maps (slow)
refusals    every raise, every flag, and silence on good data
workflow    warm start, progress, JSON, report, sources that are no arrays
"""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.special import logsumexp

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

import miest.neural.split as limits  # noqa: E402
from miest.estimators.neural import CLUB, MINE, NWJ, SMILE, Discriminator, InfoNCE, Neural, _rising  # noqa: E402
from miest.neural.critics import Critic, Separable  # noqa: E402
from miest.result import Flag, MIResult  # noqa: E402
from miest.samples import DataError  # noqa: E402
from miest.tasks.gaussian import bivariate_gaussian, gaussian_pairs  # noqa: E402
from miest.tasks.maps import half_cube, normal_cdf, spiral  # noqa: E402

TINY = {"steps": 100, "hidden": (32,), "batch": 64, "check_every": 25, "checks": False}
LOWER = (MINE, NWJ, InfoNCE)
ALL = (*LOWER, SMILE, Discriminator)
RHO = 0.8
TRUTH = -math.log1p(-(RHO**2)) / 2


def pair(n: int = 300, rho: float = RHO, d: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x, rho * x + math.sqrt(1 - rho**2) * rng.standard_normal((n, d))


class LogRatio(Separable):
    """ln p(x,y) / (p(x) p(y)) of standard normals with correlation RHO."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Identity(), torch.nn.Identity())

    def encode_x(self, x: torch.Tensor) -> torch.Tensor:
        own = TRUTH / 2 - RHO**2 / (1 - RHO**2) / 2 * x.square()
        return torch.cat([RHO / (1 - RHO**2) * x, own, torch.ones_like(own)], 1)

    def encode_y(self, y: torch.Tensor) -> torch.Tensor:
        own = TRUTH / 2 - RHO**2 / (1 - RHO**2) / 2 * y.square()
        return torch.cat([y, torch.ones_like(own), own], 1)


def best(x: tuple[int, ...], y: tuple[int, ...]) -> Critic:
    assert (x, y) == ((1,), (1,))
    return LogRatio()


# exact


@pytest.mark.parametrize("made", ALL, ids=lambda made: made.__name__)
def test_the_best_critic_is_read_as_it_is(made: type[Neural]) -> None:
    result = made(critic=best, scale="none", checks=False).estimate(*pair(1500), seed=0)
    stderr = result.diagnostics.stderr
    assert abs(result.value - TRUTH) < 4 * stderr + (0.1 if made is SMILE else 0)
    assert result.interval is not None
    assert result.interval[1] - result.interval[0] == pytest.approx(2 * 1.959964 * stderr)
    assert result.kind == ("lower bound" if made in LOWER else "point")
    assert result.n_samples == 1500
    assert result.value == pytest.approx(np.mean(result.diagnostics.folds))  # folds of equal size
    assert (result.ceiling is not None) == (made is InfoNCE)
    if made is InfoNCE:
        assert result.ceiling == pytest.approx(math.log(500))


@pytest.mark.slow
def test_claimed_errors_are_the_spread_over_samples() -> None:
    results = [MINE(critic=best, scale="none", checks=False).estimate(*pair(300, seed=s), seed=s) for s in range(150)]
    values = np.array([result.value for result in results])
    claimed = np.mean([result.diagnostics.stderr for result in results])
    assert 0.85 < claimed / values.std(ddof=1) < 1.6  # the spread of three folds is a rough one, and only ever added
    covered = np.mean([result.interval[0] < TRUTH < result.interval[1] for result in results])
    assert covered > 0.89


# properties


@pytest.mark.slow
@pytest.mark.parametrize("made", ALL, ids=lambda made: made.__name__)
def test_seeds_decide_and_nothing_leaks(made: type[Neural]) -> None:
    x, y = pair()
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = made(**TINY).estimate(x, y, seed=1)
    torch.rand(3)
    assert made(**TINY).estimate(x, y, seed=1) == first or made(**TINY).estimate(x, y, seed=1).value == first.value
    assert made(**TINY).estimate(x, y, seed=2).value != first.value
    torch.set_rng_state(torch_before)
    made(**TINY).estimate(x, y, seed=1)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002
    drawn = made(**TINY).estimate(x, y)
    assert made(**TINY).estimate(x, y, seed=drawn.diagnostics.seed).value == drawn.value


def test_kinds_of_input_change_nothing() -> None:
    x, y = (a.astype(np.float32) for a in pair(200, d=2))
    expected = MINE(**TINY).estimate(x, y, seed=0).value
    x.flags.writeable = y.flags.writeable = False
    for convert in (np.array, torch.tensor, pd.DataFrame, pl.DataFrame, np.ndarray.tolist):
        assert MINE(**TINY).estimate(convert(x), convert(y), seed=0).value == pytest.approx(expected, abs=1e-5)


def test_increasing_maps_of_columns_change_little() -> None:
    x, y = pair(600)
    plain = Discriminator(**TINY).estimate(x, y, seed=0).value
    assert Discriminator(**TINY).estimate(np.exp(2 * x), y**3, seed=0).value == pytest.approx(plain, abs=0.03)


@pytest.mark.parametrize("critic", ["anchored", "joint", "separable", "bilinear"])
@pytest.mark.parametrize("shapes", [((1, 8, 8), (3,)), ((5, 2), (1, 6, 6)), ((4,), (3, 2))], ids=str)
def test_images_and_sequences(critic: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((90, *shape)).astype(np.float32) for shape in shapes)
    result = InfoNCE(critic=critic, **{**TINY, "steps": 20, "check_every": 10}).estimate(x, y, seed=0)
    assert math.isfinite(result.value)
    assert result.value < 0.2


def test_symbols_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 600)
    z = 6.0 * labels[:, None] + rng.standard_normal((600, 1))
    settings = {**TINY, "steps": 400, "learning_rate": 1e-2, "critic": "joint"}
    for y in (labels, np.array(["a", "b", "c"])[labels], np.eye(3)[labels]):
        assert Discriminator(**settings).estimate(z, y, seed=0).value == pytest.approx(math.log(3), abs=0.12)


def test_half_the_digits_give_about_the_same() -> None:
    x, y = pair(400, d=3)
    full, half = (MINE(bf16=bf16, critic="joint", **TINY).estimate(x, y, seed=0) for bf16 in (False, True))
    assert half.value != full.value
    assert half.value == pytest.approx(full.value, abs=0.15)


# truth


@pytest.mark.parametrize("made", ALL, ids=lambda made: made.__name__)
def test_gaussian_information(made: type[Neural]) -> None:
    result = made(**TINY).estimate(*pair(1500, 0.7, 2), seed=0)
    assert abs(result.value + math.log1p(-(0.7**2))) < 4 * result.diagnostics.stderr + 0.03


def test_the_upper_bound_is_above() -> None:
    x, y = pair(1500, 0.7)
    result = CLUB(**{**TINY, "steps": 500, "learning_rate": 3e-3}).estimate(x, y, seed=0)
    assert result.kind == "upper bound"
    assert result.value > -math.log1p(-(0.7**2)) / 2  # what the reverse divergence adds is 0.62 here
    assert result.value == pytest.approx(0.7**2 / (1 - 0.7**2), abs=5 * result.diagnostics.stderr + 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("made", ALL, ids=lambda made: made.__name__)
@pytest.mark.parametrize("critic", ["anchored", "joint", "separable", "bilinear"])
def test_fifty_independent_columns_read_nothing(made: type[Neural], critic: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1000, 50))
    result = made(critic=critic, **{**TINY, "patience": 1}).estimate(x, y, seed=0)
    assert abs(result.value) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("labels_as", ["integers", "one-hot"])
def test_classes_and_gaussian_codes(labels_as: str) -> None:
    rng = np.random.default_rng(0)
    centres = 1.2 * rng.standard_normal((10, 4))

    def log_ratio(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        square = -((z[:, None] - centres) ** 2).sum(2) / 2
        return square[np.arange(len(z)), labels] - logsumexp(square, axis=1) + math.log(10)

    many = rng.integers(0, 10, 400_000)
    truth = log_ratio(centres[many] + rng.standard_normal((len(many), 4)), many).mean()
    labels = rng.integers(0, 10, 8000)
    z = centres[labels] + rng.standard_normal((8000, 4))
    result = Discriminator().estimate(labels if labels_as == "integers" else np.eye(10)[labels], z, seed=0)
    assert result.value == pytest.approx(truth, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("made", [MINE, Discriminator], ids=lambda made: made.__name__)
@pytest.mark.parametrize(
    ("x", "y"),
    [
        (None, None),
        (half_cube(), half_cube()),
        (normal_cdf(), normal_cdf()),
        (spiral(((0, 1),), speed=1 / 25), spiral(((1, 2),), speed=1 / 25)),
    ],
    ids=["plain", "half-cube", "normal-cdf", "spiral"],
)
def test_two_pairs_in_25_columns_through_maps(made: type[Neural], x: object, y: object) -> None:
    task = gaussian_pairs([0.8, 0.8], dx=25, dy=25).mapped(x=x, y=y, name="mapped")
    result = made().estimate(*task.sample(10_000, seed=0), seed=0)
    assert result.value == pytest.approx(task.mi, abs=0.08)


# refusals


def test_refusals_of_data() -> None:
    x, y = pair(90)
    for given in (x, torch.tensor(x), pd.DataFrame(x), pl.DataFrame(x), x.tolist()):
        with pytest.raises(ValueError, match="MINE needs y"):
            MINE(**TINY).estimate(given)
    with pytest.raises(ValueError, match="MINE cannot condition"):
        MINE(**TINY).estimate(x, y, given=x)
    with pytest.raises(DataError, match="3 folds needs at least 60 samples, got 59"):
        MINE(**TINY).estimate(x[:59], y[:59])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"critic": "concatenated"}, "critic='concatenated' must be one of"),
        ({"scale": "ranks"}, "scale='ranks' must be one of"),
        ({"scale": "none"}, "anchors need scale='normal'"),
        ({"folds": 0}, "folds=0 must be an integer of at least 1"),
        ({"batch": 1}, "batch=1 must be an integer of at least 2"),
        ({"negatives": 0}, "negatives=0 must be an integer of at least 1"),
        ({"hidden": ()}, r"hidden=\(\) must be widths of at least one hidden layer"),
        ({"learning_rate": 0.0}, "must be positive"),
        ({"average": 1.0}, "average=1.0 must be at least 0 and below 1"),
        ({"ema_decay": 1.0}, "ema_decay=1.0 must be at least 0 and below 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refusals_of_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MINE(**settings)


def test_refusals_of_tau_and_of_other_results() -> None:
    with pytest.raises(ValueError, match="tau=0 must be positive"):
        SMILE(tau=0)
    x, y = pair(90)
    with pytest.raises(ValueError, match="init_from holds 0 critics and 3 are to be trained"):
        MINE(**TINY).estimate(x, y, init_from=MIResult(value=0.0, n_samples=1, estimator="none"))
    old = MINE(**TINY).estimate(x, y, seed=0)
    with pytest.raises(ValueError, match=r"init_from was trained on events of shapes \(\(1,\), \(1,\)\)"):
        MINE(**TINY).estimate(np.hstack([x, x]), y, seed=0, init_from=old)


@pytest.mark.parametrize(
    "what", ["constant x", "constant column", "copied column", "two symbols", "more columns than rows"]
)
def test_arguments_without_full_rank(what: str) -> None:
    x, y = pair(300, d=2)
    rng = np.random.default_rng(2)
    a, b = {
        "constant x": (np.ones((300, 2)), y),
        "constant column": (np.hstack([x, np.ones((300, 1))]), y),
        "copied column": (np.hstack([x, x]), y),
        "two symbols": (x, (y[:, 0] > 0).astype(int)),
        "more columns than rows": (rng.standard_normal((60, 50)), rng.standard_normal((60, 50))),
    }[what]
    result = MINE(**TINY).estimate(a, b, seed=0)
    assert math.isfinite(result.value)
    assert (Flag.CONSTANT in result.flags) == (what == "constant x")


def test_what_diverges_has_no_value() -> None:
    class Breaking(LogRatio):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(math.nan))

        def cross(self, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return self.weight * super().cross(u, v)

    result = MINE(critic=lambda x, y: Breaking(), scale="none", **TINY).estimate(*pair(), seed=0)
    assert math.isnan(result.value)
    assert result.flags == (Flag.NOT_CONVERGED,)
    assert result.interval is None
    assert math.isnan(MIResult.from_dict({**result.to_dict(), "estimator": "MINE"}).value)


def test_few_steps_are_flagged() -> None:
    x, y = pair(600, 0.9)
    short = MINE(critic="joint", **TINY).estimate(x, y, seed=0)
    assert Flag.NOT_CONVERGED in short.flags
    good = MINE(critic=best, scale="none", checks=False).estimate(*pair(600), seed=0)
    assert Flag.NOT_CONVERGED not in good.flags


@pytest.mark.parametrize(
    ("looks", "rising"),
    [
        ([0.1, 0.5, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0], False),
        ([0.1, 0.5, 0.9, 1.0, 1.1, 1.2, 1.19, 1.22], True),  # noisy, so that the last two are hardly the best
        ([0.1, 0.5, 0.9, 1.0, 1.0, 1.0, 1.0, 1.3], True),
        ([0.000, 0.001, 0.000, 0.002, 0.001, 0.002, 0.004, 0.001], False),
        ([0.1, 0.3, 0.2, 0.0, -0.2, -0.5, -0.9, -1.5], False),
    ],
)
def test_what_still_rises(looks: list[float], rising: bool) -> None:
    history = SimpleNamespace(stop=looks, best_step=int(np.argmax(looks)))
    assert _rising(history) == rising


def test_a_sum_that_few_pairs_carry_is_flagged() -> None:
    x, y = pair(300, 0.999, 3)  # 9.3 nats
    for made in (MINE, NWJ):
        assert Flag.UNBOUNDED_VARIANCE in made(**TINY).estimate(x, y, seed=0).flags
    for made in (InfoNCE, Discriminator):
        assert Flag.SATURATED in made(**TINY).estimate(x, y, seed=0).flags
    easy = pair(1500, 0.5)
    for made in ALL:
        assert not {Flag.UNBOUNDED_VARIANCE, Flag.SATURATED} & set(made(**TINY).estimate(*easy, seed=0).flags)


def test_a_critic_below_the_copula_of_its_rows_is_flagged() -> None:
    x, y = pair(900, 0.9)
    for made in ALL:
        result = made(critic="separable", **{**TINY, "steps": 0}).estimate(x, y, seed=0)
        assert Flag.NOT_CONVERGED in result.flags
        assert any("Gaussian copula fitted to the same rows" in note for note in result.notes)
        assert np.mean(result.diagnostics.copula) == pytest.approx(0.78, abs=0.03)
    learned = MINE(critic=best, scale="none", checks=False).estimate(*pair(900), seed=0)
    assert Flag.NOT_CONVERGED not in learned.flags
    assert MINE(**TINY).estimate(x, y, seed=0).diagnostics.copula == [None] * 3  # it starts from there
    images = MINE(critic="separable", **TINY).estimate(x.reshape(-1, 1, 1, 1), y, seed=0)
    assert images.diagnostics.copula == [None] * 3


@pytest.mark.parametrize("critic", ["joint", "separable"])
def test_random_weights_that_no_training_betters_are_not_read(critic: str) -> None:
    x, y = (np.random.default_rng(seed).standard_normal((300, 20)) for seed in (1, 2))
    for made in ALL:
        for steps in (0, 100):
            result = made(critic=critic, **{**TINY, "steps": steps}).estimate(x, y, seed=0)
            told = zip(result.diagnostics.best_step, result.diagnostics.folds, strict=True)
            assert all(abs(value) < 1e-6 for step, value in told if step == 0)
            assert abs(result.value) < 0.05
            untaught = result.diagnostics.best_step.count(0)
            assert any(f"in {untaught} of 3 folds no training" in note for note in result.notes) == (untaught > 0)
            assert steps or (abs(result.value) < 1e-6 and result.interval is None)


@pytest.mark.parametrize("data", ["binary", "classes", "Gaussian"])
def test_good_critics_are_not_called_worse_than_a_copula(data: str) -> None:
    """Of whatever the copula makes of margins that are none of a Gaussian copula."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((900, 1))
    if data == "binary":
        x = (x > 0) * 1.0
        y = np.where(rng.random((900, 1)) < 0.05, 1 - x, x)
    elif data == "classes":
        labels = rng.integers(0, 3, 900)
        x, y = 4 * labels[:, None] + x, labels
    else:
        y = RHO * x + math.sqrt(1 - RHO**2) * rng.standard_normal((900, 1))
    for made in ALL:
        result = made(critic="joint", steps=600, hidden=(64,), checks=False).estimate(x, y, seed=0)
        assert not any("Gaussian copula" in note for note in result.notes)


def test_a_pool_that_is_too_small_for_the_value_is_flagged() -> None:
    x, y = pair(600, 0.995)  # 2.3 nats; the ceiling is ln 200 = 5.3
    result = InfoNCE(**TINY).estimate(x, y, seed=0)
    assert result.value < 0.7 * result.ceiling
    assert Flag.SATURATED in result.flags
    assert any("the second half of the pool adds" in note for note in result.notes)


def test_what_the_clip_takes_away_is_flagged() -> None:
    x, y = pair(1500, 0.9, 2)  # 1.7 nats
    low, high = (SMILE(tau=tau, **TINY).estimate(x, y, seed=0) for tau in (0.5, 20))
    assert Flag.UNBOUNDED_VARIANCE in low.flags
    assert any("clipped at tau=0.5" in note for note in low.notes)
    assert high.flags == ()


# workflow


def test_a_warm_start_saves_the_training() -> None:
    x, y = pair(600)
    y = np.abs(x) + 0.5 * np.random.default_rng(1).standard_normal(x.shape)  # which no copula here starts from
    first = Discriminator(**{**TINY, "steps": 400, "learning_rate": 3e-3}).estimate(x, y, seed=0)
    cold, warm = (Discriminator(**{**TINY, "steps": 25}).estimate(x, y, seed=0, init_from=old) for old in (None, first))
    assert warm.value > cold.value + 0.04
    assert set(warm.diagnostics.anchors) == {"the critic of init_from"}
    assert warm.value == pytest.approx(first.value, abs=0.1)


def test_progress_is_told_of_every_fold() -> None:
    told: list[tuple[int, int, int, float]] = []
    result = MINE(progress=lambda *what: told.append(what), **TINY).estimate(*pair(), seed=0)
    assert [fold for fold, *_ in told] == sorted(fold for fold, *_ in told)
    assert {fold for fold, *_ in told} == {0, 1, 2}
    assert [step for fold, step, _, _ in told if fold == 1] == result.diagnostics.steps[1]
    assert all(steps == 100 for _, _, steps, _ in told)


@pytest.mark.parametrize("made", [*ALL, CLUB], ids=lambda made: made.__name__)
def test_report_and_json(made: type[Neural]) -> None:
    result = made(**TINY).estimate(*pair(120), seed=0)
    assert MIResult.from_json(result.to_json()) == result
    assert "stop_curve" in result.report()
    assert str(result.estimator).startswith(f"{made.__name__}(critic=")


def test_sources_that_are_no_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_HELD", 200)
    x, y = (torch.tensor(a, dtype=torch.float32) for a in pair(1200))
    data, task = TensorDataset(x, y), bivariate_gaussian(RHO)
    for source in (data, DataLoader(data, batch_size=32, shuffle=True), iter([(x, y)]), task, task.sample):
        result = MINE(**TINY).estimate(source, seed=0)
        assert abs(result.value - TRUTH) < 5 * result.diagnostics.stderr + 0.03
        assert len(result.diagnostics.folds) == 1


def test_memory_maps_are_reported_on_in_part(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, array in zip("xy", pair(2000), strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    x, y = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy")
    monkeypatch.setattr(limits, "_BYTES_RESIDENT", 20_000)
    monkeypatch.setattr(limits, "_HELD", 100)
    result = MINE(**TINY).estimate(x, y, seed=0)
    assert len(result.diagnostics.folds) == 1
    assert result.n_samples == 2000
    assert abs(result.value - TRUTH) < 5 * result.diagnostics.stderr + 0.05
