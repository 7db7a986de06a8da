"""Cross-entropies: a dropout network whose two are known in closed form, their order, the bounds on errors."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miest.estimators.discrete import PlugIn

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from miest.bottleneck.cross_entropy import (  # noqa: E402
    argmax_error_bound,
    cross_entropies,
    cross_entropy,
    decoder_probabilities,
    decoder_uncertainty,
    dropping,
    error_bound,
    stochastic_logits,
)
from miest.neural.preserved import seeded  # noqa: E402

SURE, UNSURE = math.log(9), 0.0
"""Logit of the right label where the feature is kept, p = 0.9, and where it is dropped, p = 0.5."""


class Coin(nn.Module):
    """Reads its one feature with probability 1/2; then it is nine to one sure of label 1, otherwise it knows nothing.

    H_theta[Y|Z] = -(ln 0.9 + ln 0.5) / 2 and H_theta[Y|X] = -ln 0.7, where y = 1.
    """

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        z = self.dropout(x) / 2 * SURE  # dropout doubles what it keeps
        return torch.cat([torch.zeros_like(z), z], 1)


DECODER, PREDICTION = -(math.log(0.9) + math.log(0.5)) / 2, -math.log(0.7)


# exact


def test_both_cross_entropies_by_hand():
    probabilities = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.4, 0.6]]])  # two passes, two rows
    y = torch.tensor([0, 1])
    decoder = -(math.log(0.9) + math.log(0.5) + math.log(0.8) + math.log(0.6)) / 4
    prediction = -(math.log(0.7) + math.log(0.7)) / 2
    assert float(cross_entropy(probabilities.log(), y)) == pytest.approx(decoder, abs=1e-6)
    assert float(cross_entropy(probabilities.log(), y, "prediction")) == pytest.approx(prediction, abs=1e-6)
    assert float(cross_entropy(probabilities[0].log(), y)) == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2)


def test_bounds_by_hand():
    assert error_bound(0.0) == 0.0
    assert error_bound(math.log(2)) == pytest.approx(0.5)
    assert float(error_bound(torch.tensor(math.log(4)))) == pytest.approx(0.75)
    assert error_bound(1e-12) == pytest.approx(1e-12)
    assert argmax_error_bound(math.log(2) / 4) == pytest.approx(0.25)
    assert argmax_error_bound(9.0) == 1.0


def test_a_wrong_argmax_is_not_bounded_by_the_cross_entropy_of_the_paper():
    logits, y = torch.tensor([[0.49, 0.51]]).log().repeat(4, 1), torch.zeros(4, dtype=torch.long)
    h = float(cross_entropy(logits, y))
    assert error_bound(h) == pytest.approx(0.51)  # and every argmax is wrong
    assert argmax_error_bound(h) == 1.0


def test_uncertainty_of_a_categorical_latent_is_that_of_the_counts():
    rng = np.random.default_rng(0)
    z, y = rng.integers(4, size=300), rng.integers(3, size=300)
    p = nn.functional.one_hot(torch.from_numpy(z), 4).double()
    counted = PlugIn(correction=None).estimate(y, given=z).value
    assert float(decoder_uncertainty(p, torch.from_numpy(y), 3)) == pytest.approx(counted, abs=1e-12)
    decoder = decoder_probabilities(p, torch.from_numpy(y), 3)
    for category in range(4):
        shares = np.bincount(y[z == category], minlength=3) / (z == category).sum()
        np.testing.assert_allclose(decoder[category].numpy(), shares, atol=1e-12)


def test_a_category_that_nobody_is_in_has_a_uniform_decoder():
    p = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    y = torch.tensor([0, 1])
    assert decoder_probabilities(p, y, 4)[1].tolist() == [0.25] * 4
    decoder_probabilities(p, y, 4).sum().backward()
    assert torch.isfinite(p.grad).all()


def test_the_gradient_of_the_uncertainty_is_that_of_appendix_e():
    """d/dp(z|x_i) H[Y|Z] = E_y|x -ln p(y|z), up to what normalisation takes away."""
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(50, 4, generator=generator, dtype=torch.float64)
    p = (p / p.sum(1, keepdim=True)).requires_grad_(True)
    y = torch.randint(3, (50,), generator=generator)
    decoder_uncertainty(p, y, 3).backward()
    expected = -decoder_probabilities(p, y, 3).detach().log()[:, y].T / 50
    torch.testing.assert_close(p.grad, expected)


# properties


@settings(max_examples=30, deadline=None)
@given(k=st.integers(1, 6), c=st.integers(2, 5), scale=st.floats(0, 8), seed=st.integers(0, 999))
def test_the_prediction_never_costs_more_than_the_decoder(k, c, scale, seed):
    with seeded(seed):
        logits, y = scale * torch.randn(k, 7, c, dtype=torch.float64), torch.randint(c, (7,))
    decoder, prediction = (float(cross_entropy(logits, y, kind)) for kind in ("decoder", "prediction"))
    assert prediction <= decoder + 1e-12
    if k == 1:
        assert prediction == pytest.approx(decoder, abs=1e-12)
    wrong = 1 - float(logits.softmax(-1).mean(0)[torch.arange(7), y].mean())
    assert wrong <= error_bound(prediction) + 1e-12
    mean_logits = torch.logsumexp(logits.log_softmax(-1), 0)
    assert float((mean_logits.argmax(1) != y).double().mean()) <= argmax_error_bound(prediction) + 1e-12


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 40), m=st.integers(1, 6), seed=st.integers(0, 99))
def test_no_decoder_beats_the_optimal_one(n, m, seed):
    with seeded(seed):
        p, y = torch.rand(n, m, dtype=torch.float64).softmax(1), torch.randint(3, (n,))
        other = torch.randn(m, 3, dtype=torch.float64).log_softmax(1)
    exact = float(decoder_uncertainty(p, y, 3))

    def decoded(log_decoder):
        return -float((p * log_decoder[:, y].T).sum(1).mean())

    best = decoder_probabilities(p, y, 3).clamp_min(1e-300).log()
    assert decoded(best) == pytest.approx(exact, abs=1e-10)
    assert decoded(other) >= exact - 1e-10


def test_dropout_alone_is_switched_on_and_everything_is_left_as_it_was():
    model = nn.Sequential(nn.BatchNorm1d(1), Coin()).eval()
    x, y = torch.randn(40, 1), torch.zeros(40, dtype=torch.long)
    state, buffers = torch.get_rng_state(), [b.clone() for b in model.buffers()]
    with dropping(model):
        assert [m.training for m in model.modules() if isinstance(m, nn.Dropout)] == [True]
        assert not model[0].training
    first, again = (cross_entropies(model, x, y, k=3) for _ in range(2))
    assert first.decoder == again.decoder
    model.train()
    cross_entropies(model, x, y, k=2)
    assert all(m.training for m in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), buffers, strict=True))


def test_passes_differ_and_carry_gradients():
    x = torch.ones(30, 1, requires_grad=True)
    logits = stochastic_logits(Coin().eval(), x, 5)
    assert logits.shape == (5, 30, 2)
    assert len(logits[:, 0, 1].unique()) == 2 or len(logits[:, :, 1].unique()) == 2
    cross_entropy(logits, torch.ones(30, dtype=torch.long), "prediction").backward()
    assert (x.grad < 0).any()


# truth


def test_a_network_whose_cross_entropies_are_known():
    x, y = torch.ones(2000, 1), torch.ones(2000, dtype=torch.long)
    found = cross_entropies(Coin(), x, y, k=64, seed=1)
    for result, truth in ((found.decoder, DECODER), (found.prediction, PREDICTION)):
        error = result.diagnostics.standard_error
        assert result.value - result.diagnostics.bias == pytest.approx(truth, abs=4 * error + 1e-4)
        assert result.kind == "upper bound"
    assert found.gap == pytest.approx(DECODER - PREDICTION, abs=0.01)
    assert found.error == pytest.approx(0.3, abs=0.005)
    assert found.error <= found.error_bound == pytest.approx(0.3, abs=0.005)
    assert found.argmax_error == 0.0


def test_the_decoder_needs_one_pass_and_the_prediction_many():
    """Corollary 1: from few passes the first has no bias; what is expected of the second's is in the result."""
    x, y = torch.ones(20_000, 1), torch.ones(20_000, dtype=torch.long)
    for k in (1, 2, 8):
        found = cross_entropies(Coin(), x, y, k=k)
        assert found.decoder.value == pytest.approx(DECODER, abs=4 * found.decoder.diagnostics.standard_error)
        states = np.arange(k + 1)  # passes that keep the feature
        weights = np.array([math.comb(k, int(s)) for s in states]) / 2**k
        expected = -(weights * np.log((0.9 * states + 0.5 * (k - states)) / k)).sum()
        assert found.prediction.value == pytest.approx(expected, abs=4 * found.prediction.diagnostics.standard_error)
    assert expected - PREDICTION == pytest.approx(found.prediction.diagnostics.bias, rel=0.15)


def test_intervals_are_of_the_mean_over_rows():
    x, y = torch.ones(400, 1), torch.ones(400, dtype=torch.long)
    hits = [
        low <= DECODER <= high
        for seed in range(100)
        for low, high in [cross_entropies(Coin(), x, y, k=1, seed=seed).decoder.interval]
    ]
    assert 87 <= sum(hits) <= 100


# refusals


def test_refusals():
    with pytest.raises(ValueError, match=r"logits of shape \(3, 2\) and labels of shape \(4,\) do not fit"):
        cross_entropy(torch.zeros(3, 2), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match="kind='both' must be one of"):
        cross_entropy(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long), "both")
    with pytest.raises(ValueError, match="1 rows and 1 labels"):
        cross_entropies(Coin(), torch.ones(1, 1), torch.ones(1, dtype=torch.long))
    with pytest.raises(ValueError, match="k=0 must be an integer of at least 1"):
        stochastic_logits(Coin(), torch.ones(2, 1), 0)
    with pytest.raises(ValueError, match="do not fit"):
        decoder_uncertainty(torch.ones(3, 2), torch.zeros(4, dtype=torch.long), 2)


# workflow


@pytest.mark.parametrize("kind", ["decoder", "prediction"])
def test_training_on_several_passes_lowers_what_it_trains(kind):
    with seeded(0):
        x = torch.randn(300, 6)
        y = (x[:, 0] * x[:, 1] > 0).long()
        model = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Dropout(0.3), nn.Linear(24, 2))
        before = cross_entropies(model, x, y, k=8)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(80):
            optimizer.zero_grad()
            cross_entropy(stochastic_logits(model, x, 4), y, kind).backward()
            optimizer.step()
    after = cross_entropies(model, x, y, k=8)
    assert getattr(after, kind).value < 0.6 * getattr(before, kind).value
    assert after.prediction.value < after.decoder.value
    assert after.error <= after.error_bound
