"""Quantities of the I-diagram: exact from counts, closed forms, identities, what is not known, the picture."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import miest
from miest.bottleneck.i_diagram import CELLS, IDENTITIES, TITLES, Term, cells_from_entropies, cells_of
from miest.bottleneck.information import encoder_quantities, quantities
from miest.noise import GaussianNoise, UniformNoise, ZeroEntropyNoise
from miest.plotting.i_diagram import plot_i_diagram

SETS = ("X", "Y", "Z", "XY", "XZ", "YZ", "XYZ")


def entropy(p):
    p = np.asarray(p, float).ravel()
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


def table_cells(p):
    """Cells of a table p[x, y, z]; of a table p[y, z], X being what determines both."""
    if p.ndim == 3:
        h = {s: entropy(p.sum(axis=tuple(i for i, v in enumerate("XYZ") if v not in s))) for s in SETS}
        return {cell: term.value for cell, term in cells_from_entropies({s: Term(v) for s, v in h.items()}).items()}
    y, z, yz = entropy(p.sum(1)), entropy(p.sum(0)), entropy(p)
    return {"X": math.nan, "Y": 0.0, "Z": 0.0, "YZ": 0.0, "XYZ": y + z - yz, "XY": yz - z, "XZ": yz - y}


def gaussian_entropies(cov, columns):
    """Joint entropies of all sets of X, Y, Z with so many columns each."""
    at = dict(zip("XYZ", np.split(np.arange(len(cov)), np.cumsum(columns)[:2]), strict=True))
    found = {}
    for s in SETS:
        i = np.concatenate([at[v] for v in s])
        found[s] = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * cov[np.ix_(i, i)])[1] if len(i) else 0.0
    return found


def drawn(table, n, seed):
    codes = np.random.default_rng(seed).choice(table.size, size=n, p=table.ravel())
    return np.unravel_index(codes, table.shape)


def random_covariance(d, seed):
    a = np.random.default_rng(seed).normal(size=(d, d))
    return a @ a.T + np.eye(d)


def gaussian_rows(cov, columns, n, seed):
    rows = np.random.default_rng(seed).normal(size=(n, len(cov))) @ np.linalg.cholesky(cov).T
    return np.split(rows, np.cumsum(columns)[:2], axis=1)


def check(q, truth):
    """Every quantity whose cells have a truth lies in its interval, and all identities hold."""
    assert max(map(abs, q.identities().values()), default=0.0) < 1e-10
    for name, result in q.items():
        expected = sum(truth[cell] for cell in cells_of(name))
        low, high = result.interval
        assert low - 1e-9 <= expected <= high + 1e-9, (name, expected, result.interval)


# exact


def test_cells_of_names():
    assert cells_of("H[Y|X]") == {"Y", "YZ"}
    assert cells_of("I[X;Z|Y]") == {"XZ"}
    assert cells_of("I(Z; Y)") == cells_of("I[Y;Z]") == {"YZ", "XYZ"}
    assert cells_of("I[X;Y;Z]") == {"XYZ"}
    assert cells_of("H[X,Y,Z]") == set(CELLS)
    assert cells_of("I[X,Y;Z]") == {"XZ", "YZ", "XYZ"}
    for name in ("H[Y;Z]", "I[Y]", "H[W]", "H Y", "", "I[X;Y|]", "D[X;Y]"):
        with pytest.raises(KeyError, match="is not a quantity of X, Y and Z"):
            cells_of(name)


def test_identities_are_those_of_cells():
    """Every identity adds up the same cells on both sides, whatever the cells are worth."""
    for left, right in IDENTITIES:
        total = dict.fromkeys(CELLS, 0)
        for name, sign in right.items():
            for cell in cells_of(name):
                total[cell] += sign
        assert {cell for cell, count in total.items() if count} == cells_of(left), left
        assert set(total.values()) <= {0, 1}


def test_categories_are_counted_exactly():
    rng = np.random.default_rng(0)
    x, y, z = (rng.integers(k, size=400) for k in (5, 3, 4))
    q = quantities(y, z, x)
    table = np.zeros((5, 3, 4))
    np.add.at(table, (x, y, z), 1 / 400)
    cells = table_cells(table)
    assert len(q) == len(TITLES)
    for name, result in q.items():
        assert result.value == pytest.approx(sum(cells[cell] for cell in cells_of(name)), abs=1e-12)
        assert result.quantity == name
    plug_in = miest.PlugIn(correction=None)
    assert q["H[Y|Z]"].value == pytest.approx(plug_in.estimate(y, given=z).value, abs=1e-12)
    assert q["I[X;Y|Z]"].value == pytest.approx(plug_in.estimate(x, y, given=z).value, abs=1e-12)
    assert not q.is_chain


def test_without_x_labels_and_categories_are_functions_of_the_row():
    y, z = np.array([0, 0, 1, 1]), np.array(["a", "a", "a", "b"])
    q = quantities(y, z)
    assert q["H[Y|X]"].value == q["H[Z|X]"].value == 0.0
    assert q["H[Y|X]"].interval == (0.0, 0.0)
    assert q["I[X;Y]"].value == pytest.approx(math.log(2))
    assert q["H[Y|Z]"].value == pytest.approx(0.75 * entropy([1 / 3, 2 / 3]))
    assert q["I[X;Z|Y]"].value == pytest.approx(0.5 * math.log(2))
    assert list(q.atoms) == ["H[Y|X]", "H[Z|X]", "I[Y;Z]", "I[X;Y|Z]", "I[X;Z|Y]"]
    assert "H[X]" not in q
    assert q.is_chain


def test_probabilities_of_an_encoder_are_summed_exactly():
    rng = np.random.default_rng(1)
    p, y = rng.dirichlet(np.ones(4), size=300), rng.integers(3, size=300)
    q = encoder_quantities(y, p)
    joint = np.array([p[y == label].sum(axis=0) for label in range(3)]) / 300
    within = np.mean([entropy(row) for row in p])
    assert q["H[Z|X]"].value == pytest.approx(within, abs=1e-12)
    assert q["H[Y|Z]"].value == pytest.approx(entropy(joint) - entropy(joint.sum(0)), abs=1e-12)
    assert q["I[X;Z]"].value == pytest.approx(entropy(joint.sum(0)) - within, abs=1e-12)
    assert q["I[X;Z]"].interval[0] < q["I[X;Z]"].value < q["I[X;Z]"].interval[1]
    assert max(map(abs, q.identities().values())) < 1e-12


def test_certain_encoders_are_counts():
    rng = np.random.default_rng(2)
    z, y = rng.integers(4, size=300), rng.integers(3, size=300)
    soft, hard = encoder_quantities(y, np.eye(4)[z]), quantities(y, z)
    for name in hard:
        assert soft[name].value == pytest.approx(hard[name].value, abs=1e-12)
    assert soft["I[Y;Z]"].diagnostics.bias == pytest.approx(hard["I[Y;Z]"].diagnostics.bias, abs=1e-12)


def test_noise_is_added_to_the_covariance():
    _, y, z = gaussian_rows(random_covariance(3, 0), (0, 1, 2), 500, 0)
    q = quantities(y, z, noise=GaussianNoise(std=0.7))
    assert q.estimator == "Gaussian()"
    assert q["H[Z|X]"].value == pytest.approx(math.log(2 * math.pi * math.e * 0.49))
    cov = np.cov(z.T) + 0.49 * np.eye(2)
    bias = 0.5 / 499 * 3  # of second order, at most d (d + 1) / 4 nu
    assert q["H[Z]"].value == pytest.approx(0.5 * np.linalg.slogdet(2 * np.pi * np.e * cov)[1], abs=2 * bias)
    assert quantities(y, z, noise=ZeroEntropyNoise())["H[Z|X]"].value == pytest.approx(0.0, abs=1e-12)


# properties


@settings(max_examples=25, deadline=None)
@given(sizes=st.tuples(*[st.integers(1, 4)] * 3), n=st.integers(5, 60), seed=st.integers(0, 999), with_x=st.booleans())
def test_identities_hold_for_any_categories(sizes, n, seed, with_x):
    rng = np.random.default_rng(seed)
    x, y, z = (rng.integers(k, size=n) for k in sizes)
    q = quantities(y, z, x if with_x else None)
    assert max(map(abs, q.identities().values())) < 1e-12
    assert len(q.identities()) == (len(IDENTITIES) if with_x else 12)
    for name, result in q.items():
        assert result.interval[0] <= result.value <= result.interval[1]
        if name != "I[X;Y;Z]":
            assert result.value > -1e-12
    swapped = quantities(z, y, x if with_x else None)
    assert swapped["H[Z|Y]"].value == pytest.approx(q["H[Y|Z]"].value, abs=1e-12)


@pytest.mark.parametrize("noise", [None, ZeroEntropyNoise()])
def test_identities_hold_for_estimates_of_every_kind(noise):
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=300)
    points = labels[:, None] + rng.exponential(size=(300, 2))
    other = points[:, :1] ** 2 + rng.exponential(size=(300, 1))
    cases = [
        (labels, points, None),
        (other, points, None),
        (labels, points, other),
        (other, points, labels),
        (other, labels, None),
        (other, labels, points),
        (labels, points, rng.integers(40, size=300)),
    ]
    for y, z, x in cases:
        q = quantities(y, z, x, noise=noise)
        assert q.identities()
        assert max(map(abs, q.identities().values())) < 1e-10
        assert q.estimator != "Gaussian()"
        for result in q.values():
            assert math.isfinite(result.value)
        again = quantities(y, z, x, noise=noise)
        assert [r.value for r in again.values()] == [r.value for r in q.values()]


def test_a_change_of_units_moves_entropies_alone():
    _, y, z = gaussian_rows(random_covariance(2, 3), (0, 1, 1), 400, 0)
    q, scaled = quantities(y, z), quantities(y, 3 * z)
    assert scaled["H[Z]"].value - q["H[Z]"].value == pytest.approx(math.log(3))
    assert scaled["I[Y;Z]"].value == pytest.approx(q["I[Y;Z]"].value)
    assert scaled["I[Y;Z]"].interval == pytest.approx(q["I[Y;Z]"].interval)


# truth


@pytest.mark.parametrize("seed", range(6))
def test_categories_against_the_table_they_come_from(seed):
    rng = np.random.default_rng(100 + seed)
    for table in (
        rng.dirichlet(np.ones(24)).reshape(2, 4, 3),
        np.full((1, 4, 5), 1 / 20),
        np.outer([0.9, 0.07, 0.03], [0.9, 0.06, 0.04])[None],  # hardly any dependence can be seen
        np.eye(5)[None] * 0.2,
    ):
        x, y, z = drawn(table, 800, seed)
        with_x = table.shape[0] > 1
        check(quantities(y, z, x if with_x else None), table_cells(table if with_x else table[0]))


@pytest.mark.parametrize("columns", [(0, 1, 1), (0, 2, 3), (1, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("noise", [None, GaussianNoise(std=0.5), ZeroEntropyNoise()])
def test_gaussians_against_their_closed_forms(columns, noise):
    cov = random_covariance(sum(columns), sum(columns))
    seen = cov.copy()
    if noise is not None:
        at = np.arange(sum(columns[:2]), sum(columns))
        seen[at, at] += noise.std**2
    h = gaussian_entropies(seen, columns)
    for seed in range(3):
        x, y, z = gaussian_rows(cov, columns, 500, seed)
        q = quantities(y, z, x if columns[0] else None, noise=noise)
        assert q.estimator == "Gaussian()"
        truth = {cell: term.value for cell, term in cells_from_entropies({s: Term(v) for s, v in h.items()}).items()}
        if not columns[0]:
            eps = 0.0 if noise is None else noise.entropy(columns[2])
            information = h["Y"] + h["Z"] - h["YZ"]
            truth = {"X": math.nan, "Y": 0.0, "XY": h["YZ"] - h["Z"], "Z": eps, "XZ": h["YZ"] - h["Y"] - eps}
            truth |= {"YZ": 0.0, "XYZ": information}
        check(q, truth)


def test_a_noisy_layer_of_well_separated_labels():
    """Four points far apart, each a label: I[Y;Z] = I[X;Z] = ln 4, and H[Z|X] is the entropy of the noise."""
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=1000)
    q = quantities(y, 5.0 * np.eye(4)[y], noise=ZeroEntropyNoise())
    assert q["H[Z|X]"].value == pytest.approx(0.0, abs=1e-12)
    for name in ("I[Y;Z]", "I[X;Z]", "H[Z]"):
        assert q[name].value == pytest.approx(math.log(4), abs=0.01)
    for name in ("I[X;Z|Y]", "H[Y|Z]", "I[X;Y|Z]"):
        assert q[name].value == pytest.approx(0.0, abs=0.01)
    assert q["I[Y;Z]"].interval[0] <= math.log(4) <= q["I[Y;Z]"].interval[1]


def test_several_passes_of_one_input_are_an_encoder_that_is_stochastic():
    """Z = mean of the input + N(0, 1) + noise: H[Z|X] = 0.5 ln(2 pi e (1 + var))."""
    rng = np.random.default_rng(0)
    x = np.repeat(np.arange(4), 300)
    z = 6.0 * x + rng.normal(size=1200)
    q = quantities(x // 2, z, x, noise=ZeroEntropyNoise())
    truth = 0.5 * math.log(2 * math.pi * math.e + 1)
    assert q["H[Z|X]"].interval[0] <= truth <= q["H[Z|X]"].interval[1]
    assert q["I[X;Z]"].value == pytest.approx(math.log(4), abs=0.03)
    assert q["H[X|Z]"].value == pytest.approx(0.0, abs=0.03)
    assert q["I[Y;Z]"].value == pytest.approx(math.log(2), abs=0.03)


def test_neighbours_where_margins_are_gaussian_and_the_joint_is_not():
    rng = np.random.default_rng(0)
    y = rng.normal(size=800)
    z = y * rng.choice([-1, 1], size=800) + 0.1 * rng.normal(size=800)
    q = quantities(y, z)
    assert "MixedKSG" in q.estimator
    assert q["I[Y;Z]"].value > 0.5
    assert miest.Gaussian().estimate(y, z).value < 0.1


# refusals


def test_what_is_not_known_says_why():
    rng = np.random.default_rng(0)
    y, z = rng.integers(3, size=200), rng.exponential(size=200)
    q = quantities(y, z)
    with pytest.raises(KeyError, match=r"I\[X;Z\] is not known.*noise=ZeroEntropyNoise\(\).*Known: H\[Y\|X\]"):
        q["I[X;Z]"]
    with pytest.raises(KeyError, match="no entropy of its own: pass x="):
        quantities(y, y)["H[X]"]
    with pytest.raises(KeyError, match="Y is continuous and X was not given"):
        quantities(z, z + rng.exponential(size=200), noise=ZeroEntropyNoise())["H[Y|X]"]
    assert "I[X;Z]" not in q
    assert "nonsense" not in q
    assert "H[Z|Y]" in q


def test_refusals():
    y, z = np.arange(50) % 3, np.random.default_rng(0).normal(size=50)
    with pytest.raises(ValueError, match="y has 50 samples and z has 49"):
        quantities(y, z[:49])
    with pytest.raises(ValueError, match="need at least 4 samples, got 3"):
        quantities(y[:3], z[:3])
    with pytest.raises(ValueError, match=r"noise=0\.3 must be GaussianNoise"):
        quantities(y, z, noise=0.3)
    with pytest.raises(ValueError, match="known as a mixture of Gaussians"):
        quantities(y, z, noise=UniformNoise(width=1))
    with pytest.raises(ValueError, match=r"Gaussian\(\) needs continuous variables, and Y are discrete"):
        quantities(y, z, estimator=miest.Gaussian())
    with pytest.raises(ValueError, match="estimator='ksg' must be"):
        quantities(y, z, estimator="ksg")
    with pytest.raises(ValueError, match="linear functions of each other"):
        quantities(z, np.column_stack([z, 2 * z]), estimator=miest.Gaussian())
    with pytest.raises(ValueError, match="level=2 must be between 0 and 1"):
        quantities(y, z, level=2)
    with pytest.raises(ValueError, match=r"rows of p sum to 2 at least"):
        encoder_quantities(y, np.ones((50, 2)))
    with pytest.raises(ValueError, match="y is continuous"):
        encoder_quantities(z, np.ones((50, 1)))


def test_flags_reach_the_quantities_that_depend_on_them():
    y = np.arange(60) % 20
    q = quantities(y, y[::-1] * 7)
    assert [flag.name for flag in q["I[Y;Z]"].flags] == ["SMALL_SAMPLE"]
    assert q["H[Y|X]"].ok
    assert q["H[Y]"].flags
    once = quantities(np.arange(200) % 2, np.arange(200) // 2 % 2, np.arange(200))  # every input once
    assert once["I[Y;Z]"].ok
    assert once["H[Y|X]"].flags
    rng = np.random.default_rng(0)
    far = quantities(rng.integers(2, size=100), 100 * rng.normal(size=(100, 3)), noise=ZeroEntropyNoise())
    assert "SATURATED" in [flag.name for flag in far["I[X;Z]"].flags]
    assert far["I[X;Z]"].interval is None
    assert far["H[Y]"].interval is not None
    assert far["H[Y]"].ok


# workflow


def test_report_and_json():
    rng = np.random.default_rng(0)
    q = quantities(rng.integers(3, size=300), rng.integers(2, size=300))
    lines = q.report().splitlines()
    assert len(lines) == len(q) + 2
    assert "residual information" in q.report()
    plain = json.loads(q.to_json())
    assert plain["quantities"]["I[Y;Z]"]["value"] == q["I[Y;Z]"].value
    assert set(plain["quantities"]) == set(q)
    assert q.atoms.keys() | q.composites.keys() == set(q)


@pytest.mark.parametrize("kind", ["categories", "with x", "pair", "noise"])
def test_every_region_has_its_number_in_the_picture(kind, tmp_path):
    rng = np.random.default_rng(0)
    y, z, x = (rng.integers(k, size=300) for k in (3, 4, 5))
    points = rng.normal(size=(300, 2))
    q = {
        "categories": lambda: quantities(y, z),
        "with x": lambda: quantities(y, z, x),
        "pair": lambda: quantities(points[:, 0], points.sum(axis=1)),
        "noise": lambda: quantities(y, points, noise=ZeroEntropyNoise()),
    }[kind]()
    figure, ax = plot_i_diagram(q, title="here", units="bits")
    figure.savefig(tmp_path / "diagram.png")
    words = [text.get_text() for text in ax.texts]
    for name, result in q.atoms.items():
        (text,) = [text for text in words if text.startswith(f"{name}\n")]
        assert f"{result.bits:.3f}" in text
    assert len([w for w in words if w in "XYZ"]) == (2 if kind == "pair" else 3)
    assert ax.get_title("left") == "here"
    with pytest.raises(ValueError, match="units='shannon'"):
        q.plot(units="shannon")


def test_a_doubtful_number_has_a_question_mark():
    y = np.arange(60) % 20
    _, ax = quantities(y, y[::-1] * 7).plot()
    words = [text.get_text() for text in ax.texts]
    assert any(text.startswith("I[Y;Z]\n") and "?" in text for text in words)
    assert any("SMALL_SAMPLE" in text for text in words)
