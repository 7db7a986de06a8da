"""Training: pairs that were not drawn together, judging in blocks, and the one loop.

exact       tables without their diagonal, derangements, pools, averages of weights, the best look is kept
properties  every row the same number of times; blocks change nothing; seeds decide everything, and nothing leaks
truth       a critic comes to the log density ratio
refusals    what is not finite ends training; what cannot be trained is judged as it is
"""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from miest.neural import bounds  # noqa: E402
from miest.neural import train as training  # noqa: E402
from miest.neural.bounds import Bound  # noqa: E402
from miest.neural.critics import Critic, Joint, Separable  # noqa: E402
from miest.neural.train import Training, derangement, judge, score, train  # noqa: E402

TINY = Training(
    steps=40,
    batch=32,
    negatives=None,
    learning_rate=1e-2,
    weight_decay=0.0,
    average=0.9,
    check_every=10,
    patience=3,
    bf16=False,
)
RHO = 0.9


def pairs(size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    x, noise = torch.randn(2, size, 1, generator=generator)
    return x, RHO * x + math.sqrt(1 - RHO**2) * noise


HELD = pairs(300, torch.Generator().manual_seed(99))


def joint(extra: torch.nn.Module | None = None) -> Critic:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Joint(extra or torch.nn.Identity(), torch.nn.Identity(), 1, 1, hidden=(16,))


def run(critic: Critic, settings: Training = TINY, bound: Bound | None = None, seed: int = 0, **more):
    bound = bound or bounds.DonskerVaradhan()

    def judged(of: Critic) -> float:
        return float(bound.criterion(judge(of, HELD, 16, 0)))

    return train(
        critic, bound, pairs, more.pop("judged", judged), settings, torch.Generator().manual_seed(seed), **more
    )


def weights(critic: Critic) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in critic.parameters()])


class Product(Separable):
    """x y, without a parameter."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Identity(), torch.nn.Identity())


# exact


def test_scores_of_a_batch_are_the_table_and_what_is_off_its_diagonal() -> None:
    x, y = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1.0], [10.0], [100.0]])
    scores = score(Product(), x, y)
    assert scores.joint.tolist() == [1, 20, 300]
    assert scores.marginal.tolist() == [[10, 100], [2, 200], [3, 30]]
    assert scores.others is None
    picked = score(Product(), x, y, torch.tensor([[1], [2], [0]]))
    assert picked.joint.tolist() == [1, 20, 300]
    assert picked.marginal.tolist() == [[10], [200], [3]]


def test_the_best_look_is_kept_and_waiting_ends() -> None:
    seen: list[torch.Tensor] = []
    marks = [0.0, 1.0, 5.0, *[2.0] * 100]

    def judged(of: Critic) -> float:
        assert not of.training
        seen.append(weights(of))
        return marks[len(seen) - 1]

    kept, history = run(joint(), replace(TINY, steps=1000), judged=judged)
    assert history.ended == "stopped"
    assert history.best_step == 20
    assert torch.equal(weights(kept), seen[2])
    assert history.stop == marks[: len(seen)]
    assert history.step == list(range(0, 10 * len(seen), 10))
    assert 2 + TINY.patience < len(seen) < 30  # the rate falls before it ends
    assert history.fit[0] is None
    assert all(isinstance(mark, float) for mark in history.fit[1:])


def test_what_is_judged_is_the_average_of_the_weights() -> None:
    followed: list[torch.Tensor] = []

    class Following(Product):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def join(self, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            if self.training:
                followed.append(self.weight.detach().clone())
            return self.weight * super().join(u, v)

        def cross(self, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return self.join(u[:, None], v[None])

    critic = Following()
    judged: list[float] = []
    run(critic, replace(TINY, steps=20, check_every=1), judged=lambda of: judged.append(of.weight.item()) or 0.0)
    path = [w.item() for w in followed] + [critic.weight.item()]
    average, expected = path[0], [path[0]]
    for step, weight in enumerate(path[1:]):
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
        expected.append(average)
    assert judged == pytest.approx(expected[: len(judged)], rel=1e-5)
    assert path[-1] != path[0]


def test_progress_is_told_at_every_look() -> None:
    told: list[tuple[int, int, float]] = []
    _, history = run(joint(), progress=lambda *what: told.append(what))
    assert told == [(step, 40, held) for step, held in zip(history.step, history.stop, strict=True)]
    assert [step for step, _, _ in told] == [0, 10, 20, 30, 40]
    assert history.ended == "steps"


# properties


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 50), st.data(), st.integers(0, 2**32 - 1))
def test_derangements(n: int, data: st.DataObject, seed: int) -> None:
    m = data.draw(st.integers(1, n - 1))
    others = derangement(n, m, torch.Generator().manual_seed(seed))
    assert others.shape == (n, m)
    assert (others != torch.arange(n)[:, None]).all()
    assert all(len(set(row.tolist())) == m for row in others)
    assert (others.flatten().bincount(minlength=n) == m).all()
    assert torch.equal(others, derangement(n, m, torch.Generator().manual_seed(seed)))


def test_derangements_are_even() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = sum(torch.nn.functional.one_hot(derangement(5, 1, generator)[:, 0], 5) for _ in range(4000))
    assert counts.diagonal().sum() == 0
    off = counts[~torch.eye(5, dtype=bool)].float()
    assert (off - 1000).abs().max() < 5 * math.sqrt(1000 * 0.75)


@settings(max_examples=100, deadline=None)
@given(st.integers(3, 60), st.data(), st.booleans(), st.integers(0, 2**32 - 1))
def test_judging_scores_the_pairs_it_says(n: int, data: st.DataObject, tabular: bool, seed: int) -> None:
    m = data.draw(st.integers(1, n - 2))
    x, y = torch.randn(2, n, 1, generator=torch.Generator().manual_seed(seed))
    critic = Product() if tabular else joint()
    scores = judge(critic, (x, y), m, seed)
    with torch.no_grad():
        table = critic.table(x, y)
    torch.testing.assert_close(scores.joint, table.diagonal())
    if scores.others is None:  # a pool of all
        assert scores.marginal.shape == (n, n - 1)
        return
    width = scores.marginal.shape[1]
    assert width >= m if tabular else width == m
    torch.testing.assert_close(scores.marginal, table.gather(1, scores.others.long()))
    assert (scores.others != torch.arange(n)[:, None]).all()
    assert all(len(set(row.tolist())) == width for row in scores.others)
    often = scores.others.flatten().bincount(minlength=n)
    assert (often == width).all()


@pytest.mark.parametrize("negatives", [None, 9, 60])
@pytest.mark.parametrize("tabular", [True, False])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, negatives: int | None, tabular: bool) -> None:
    critic = Product() if tabular else joint()
    whole = judge(critic, HELD, negatives, 3)
    monkeypatch.setattr(training, "_PAIRS_AT_ONCE", 64)
    parts = judge(critic, HELD, negatives, 3)
    torch.testing.assert_close(parts.marginal, whole.marginal)
    torch.testing.assert_close(parts.joint, whole.joint)
    assert whole.others is parts.others is None or torch.equal(whole.others, parts.others)


@pytest.mark.parametrize("tabular", [True, False])
@pytest.mark.parametrize("negatives", [None, 200])
def test_no_more_pairs_than_memory_should_hold(
    monkeypatch: pytest.MonkeyPatch, negatives: int | None, tabular: bool
) -> None:
    monkeypatch.setattr(training, "_MOST_PAIRS", 3000)
    scores = judge(Product() if tabular else joint(), HELD, negatives, 0)
    assert 3000 <= scores.marginal.numel() + 300 <= 2 * 3000
    assert len(scores.joint) == 300


@pytest.mark.parametrize("bound", [bounds.MINE(), bounds.JensenShannon(), bounds.InfoNCE()], ids=str)
@pytest.mark.parametrize("negatives", [None, 4])
def test_a_seed_decides_everything(bound: Bound, negatives: int | None) -> None:
    settings = replace(TINY, negatives=negatives)
    (one, first), (two, second), (other, _) = (run(joint(), settings, bound, seed) for seed in (1, 1, 2))
    assert torch.equal(weights(one), weights(two))
    assert first == second
    assert not torch.equal(weights(one), weights(other))


def test_what_critics_and_data_draw_depends_on_the_seed_alone_and_leaves_no_trace() -> None:
    before = torch.get_rng_state()
    noisy = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout(0.5))

    def once() -> tuple[torch.Tensor, object]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            critic = Joint(torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout(0.5)), torch.nn.Identity(), 1, 1)
        kept, history = run(critic)
        return weights(kept), history

    (one, first), _ = once(), torch.randn(7)
    two, second = once()
    assert torch.equal(one, two)
    assert first == second
    torch.set_rng_state(before)
    run(joint(noisy))
    assert torch.equal(torch.get_rng_state(), before)


def test_held_out_rows_are_judged_in_evaluation_mode_with_the_latest_statistics() -> None:
    norm = torch.nn.BatchNorm1d(1, momentum=None)
    critic = joint(norm)
    modes = []
    kept, _ = run(critic, judged=lambda of: modes.append(of.training) or float(len(modes)))
    assert set(modes) == {False}
    assert not kept.training
    assert int(norm.num_batches_tracked) == 40
    assert int(kept.x.num_batches_tracked) == 40  # the last look was the best
    torch.testing.assert_close(kept.x.running_mean, norm.running_mean)
    assert critic.training


# truth


@pytest.mark.parametrize(
    "bound",
    [bounds.DonskerVaradhan(), bounds.MINE(), bounds.NWJ(), bounds.InfoNCE(), bounds.JensenShannon(), bounds.SMILE()],
    ids=str,
)
def test_a_critic_comes_to_the_truth(bound: Bound) -> None:
    settings = replace(TINY, steps=400, batch=128, learning_rate=5e-3, check_every=50)
    kept, history = run(joint(), settings, bound)
    scores = judge(kept, pairs(4000, torch.Generator().manual_seed(5)), 64, 1)
    error = float(bound.influence(scores).std()) / math.sqrt(4000)
    truth = -math.log1p(-(RHO**2)) / 2
    assert abs(float(bound.value(scores)) - truth) < 4 * error + 0.08
    assert history.stop[-1] > history.stop[0]


# refusals


def test_a_loss_that_is_not_finite_ends_training() -> None:
    class Breaking(Product):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))
            self.looks = 0

        def cross(self, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            self.looks += self.training
            return self.weight * (u @ v.T) * (math.nan if self.looks == 25 else 1.0)

    kept, history = run(Breaking(), judged=lambda of: abs(of.weight.item()))
    assert history.ended == "diverged"
    assert history.step[-1] == 30  # the look after the 25th step
    assert math.isnan(history.stop[-1])
    assert torch.isfinite(weights(kept)).all()


def test_a_critic_without_parameters_is_judged_as_it_is() -> None:
    critic = Product()
    kept, history = run(critic)
    assert history.ended == "stopped"
    assert history.step == [0]
    assert history.stop == [float(bounds.DonskerVaradhan().criterion(judge(critic, HELD, 16, 0)))]
    assert kept.table(*HELD).equal(critic.table(*HELD))


def test_no_steps_keep_the_start() -> None:
    critic = joint()
    start = weights(critic)
    kept, history = run(critic, replace(TINY, steps=0))
    assert torch.equal(weights(kept), start)
    assert (history.step, history.ended) == ([0], "steps")


def test_half_the_digits_train_about_as_well() -> None:
    settings = replace(TINY, steps=200, batch=64, check_every=50)
    (_, full), (kept, half) = run(joint(), settings), run(joint(), replace(settings, bf16=True))
    assert next(kept.parameters()).dtype == torch.float32
    assert half.stop[-1] > 0.5 * full.stop[-1] > 0.1
    assert half.stop != full.stop
