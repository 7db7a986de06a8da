"""Rows and trajectories: exact, properties, refusals, and the forms in which they leave."""

import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miest.estimators.kde import KDE
from miest.plane.row import Row, numbers, spelled
from miest.plane.trajectory import Trajectory

SETTINGS = {
    "layers": ["fc1", "act", "fc2"],
    "references": {"H(X)": 4.5, "H(Y)": 1.1},
    "quantities": [{"key": "I_XT", "axis": "x"}, {"key": "I_TY", "axis": "y"}, {"key": "TC", "axis": None}],
}


@pytest.fixture
def trajectory(row):
    rows = [
        row(step, layer, key, value=step + i, interval=(step + i - 1.0, step + i + 1.0))
        for step in (10, 0, 1)
        for i, layer in enumerate(["fc2", "fc1", "act"])
        for key in ("I_TY", "I_XT")
    ]
    return Trajectory(tuple(rows), {10: {"loss": 0.5}, 0: {"loss": 2.0}}, SETTINGS)


def test_order_is_by_step_then_network_then_quantity(trajectory):
    assert [row.place for row in trajectory.rows] == [
        (step, layer, key) for step in (0, 1, 10) for layer in ("fc1", "act", "fc2") for key in ("I_XT", "I_TY")
    ]
    assert trajectory.layers == ("fc1", "act", "fc2")
    assert trajectory.steps == (0, 1, 10)
    assert trajectory.quantities == ("I_XT", "I_TY")  # nothing of TC was estimated
    assert trajectory.axes == {"I_XT": "x", "I_TY": "y"}
    assert trajectory.references == {"H(X)": 4.5, "H(Y)": 1.1}
    assert list(trajectory.scalars) == [0, 10]
    assert str(trajectory) == "Trajectory of 3 steps, 3 layers and 2 quantities: 18 estimates"


def test_the_later_of_two_rows_holds(row):
    failed = row(value=math.nan, kind="failed", notes=("DataError: x",))
    assert Trajectory((failed, row(value=2.0))).rows == (row(value=2.0),)
    assert Trajectory((row(value=2.0), failed)).failed == (failed,)


def test_what_the_settings_do_not_name_comes_last(row):
    found = Trajectory((row(0, "zz", "own"), row(0, "aa", "own"), row(0, "fc2", "I_TY")), {}, SETTINGS)
    assert found.layers == ("fc1", "act", "fc2", "aa", "zz")
    assert found.quantities == ("I_TY", "own")
    assert found.axes["own"] is None


def test_a_row_of_a_result():
    result = KDE(noise_var=0.1).estimate(np.random.default_rng(0).standard_normal((30, 2)))
    made = Row.of(result, step=3, layer="fc1", quantity="I_XT", estimator="KDE(...)", seconds=0.1)
    assert (made.value, made.kind, made.ceiling, made.n) == (result.value, "upper bound", math.log(30), 30)
    assert made.name == "I(X;T+eps)"
    assert made.diagnostics["lower"] == result.diagnostics.lower
    assert made.flags == tuple(flag.name for flag in result.flags)


def test_equal_rows_may_have_taken_different_times(row):
    assert row(seconds=1.0) == row(seconds=2.0)
    assert row(value=math.nan) == row(value=float("nan"))
    assert row(diagnostics={"a": 1}) != row(diagnostics={"a": 2})
    odd = row(value=math.nan, diagnostics={"a": [math.nan, 1.0]})
    assert odd == row(value=float("nan"), diagnostics={"a": (float("nan"), 1.0)}) == pickle.loads(pickle.dumps(odd))
    assert hash(row(diagnostics={"a": 1})) == hash(row(diagnostics={"a": 2}))


def test_select(trajectory):
    assert {row.layer for row in trajectory.select(layer="fc*").rows} == {"fc1", "fc2"}
    assert len(trajectory.select(quantity="I_TY", step=10)) == 3
    assert len(trajectory.select(estimator="kde")) == 18
    assert len(trajectory.select(estimator="KDE(*")) == 18
    assert trajectory.select(layer="act").scalars == trajectory.scalars


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"layer": "fc"}, r"no row has layer='fc'\. Did you mean fc"),
        ({"quantity": "H"}, "There is I_XT, I_TY"),
        ({"estimator": "KSG"}, "no row has estimator='KSG'"),
        ({"step": 5}, "step=5. There is 0, 1, 10"),
    ],
)
def test_select_refuses_what_is_not_there(trajectory, asked, says):
    with pytest.raises(ValueError, match=says):
        trajectory.select(**asked)


def test_table(trajectory):
    pandas = pytest.importorskip("pandas")
    frame = trajectory.to_frame()
    assert list(frame["step"])[:6] == [0] * 6
    assert list(frame.columns[:6]) == ["step", "layer", "quantity", "value", "low", "high"]
    assert frame["low"].iloc[-1] == trajectory.rows[-1].interval[0]
    assert list(Trajectory().to_frame().columns) == list(frame.columns)
    assert isinstance(frame, pandas.DataFrame)


def test_csv_and_parquet_are_the_same_table(trajectory, row, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    odd = row(20, "fc1", "I_XT", value=math.inf, flags=("SATURATED", "TIES"), notes=("one, two.", 'a "quoted" one.'))
    found = Trajectory((*trajectory.rows, odd), trajectory.scalars, trajectory.settings)
    found.to_csv(tmp_path / "a.csv")
    found.to_parquet(tmp_path / "a.parquet")
    for read in (pandas.read_csv(tmp_path / "a.csv"), pandas.read_parquet(tmp_path / "a.parquet")):
        assert list(read["value"]) == [row.value for row in found.rows]
        last = read.iloc[-1]
        assert (last["flags"], last["notes"]) == ("SATURATED,TIES", 'one, two. a "quoted" one.')
        assert np.isnan(last["low"])
    assert (tmp_path / "a.csv").read_text() == found.to_csv()


def test_parquet_holds_the_settings(trajectory, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    trajectory.to_parquet(tmp_path / "a.parquet")
    about = json.loads(parquet.read_schema(tmp_path / "a.parquet").metadata[b"miest"])
    assert about["settings"] == SETTINGS
    assert about["scalars"] == {"0": {"loss": 2.0}, "10": {"loss": 0.5}}


values = st.floats(allow_nan=True, allow_infinity=True)
names = st.text(min_size=1)
rows = st.builds(
    Row,
    step=st.integers(0, 10**9),
    layer=names,  # also "nan" and "inf", which are no numbers there
    quantity=st.sampled_from(["I_XT", "I_TY", "nan"]),
    value=values,
    interval=st.none() | st.tuples(values.filter(lambda v: v == v), values.filter(lambda v: v == v)),
    kind=st.sampled_from(["point", "upper bound", "failed"]),
    ceiling=st.none() | st.floats(allow_nan=False),
    flags=st.lists(st.sampled_from(["TIES", "SATURATED"])).map(tuple),
    n=st.integers(0, 10**6),
    seconds=st.floats(0, 1e6),
    estimator=st.text(),
    name=st.text(),
    notes=st.lists(st.text()).map(tuple),
    diagnostics=st.dictionaries(names, st.floats(allow_nan=False) | st.integers() | st.booleans() | st.none()),
)


@given(st.lists(rows, max_size=6))
def test_json_gives_back_an_equal_trajectory(some):
    made = Trajectory(tuple(some), {3: {"loss": 0.1, "nan": math.inf}}, {"layers": ["a"], "schema": 1})
    again = Trajectory.from_json(made.to_json())
    assert again == made
    assert [row.seconds for row in again.rows] == [row.seconds for row in made.rows]
    json.loads(made.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_json_file(trajectory, tmp_path):
    text = trajectory.to_json(tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text() == text + "\n"


def test_numbers_that_json_lacks_are_spelled():
    plain = {"a": [math.inf, -math.inf, math.nan, 1.5], "b": np.float32(0.5), "c": np.arange(2), "d": None}
    told = spelled(plain)
    assert told == {"a": ["inf", "-inf", "nan", 1.5], "b": 0.5, "c": [0, 1], "d": None}
    back = numbers(told)
    assert back["a"][:2] == [math.inf, -math.inf]
    assert math.isnan(back["a"][2])
    assert spelled(object) == repr(object)


@pytest.mark.parametrize("text", ["[]", "{}", '{"rows": []}'])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match="not a trajectory"):
        Trajectory.from_json(text)


def test_rows_of_other_fields_are_refused(row):
    plain = row().to_dict()
    with pytest.raises(ValueError, match="missing or unknown fields: kind"):
        Row.from_dict({name: value for name, value in plain.items() if name != "kind"})
    with pytest.raises(ValueError, match="missing or unknown fields: more"):
        Row.from_dict({**plain, "more": 1})


def test_violations_are_what_processing_cannot_do(row):
    def told(name, *ends):
        layers = ("fc1", "act", "fc2")
        rows = [
            row(0, layer, "I_TY", value=(low + high) / 2, interval=(low, high), name=name)
            for layer, (low, high) in zip(layers, ends, strict=True)
        ]
        return [r.layer for r in Trajectory(tuple(rows), {}, SETTINGS).violations]

    assert told("I(T;Y)", (0.8, 1.0), (0.9, 1.1), (0.3, 0.4)) == []
    assert told("I(T;Y)", (0.8, 1.0), (0.3, 0.4), (0.6, 0.8)) == ["fc2"]
    assert told("I(X;T+eps)", (0.8, 1.0), (0.3, 0.4), (0.6, 0.8)) == []  # has its own noise in every layer


def test_without_pandas_the_way_out_is_named(trajectory, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match=r"miest\[data\].*to_csv"):
        trajectory.to_frame()
