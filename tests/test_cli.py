"""The command line.

exact       the numbers are those of the estimators, in the units asked for; JSON comes back to equal results
properties  patterns, files, settings; quiet where there is no terminal
refusals    exit codes 1 and 2, and one line that says why
workflow    the real command in a process of its own
"""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import miest
from miest.cli import main
from miest.estimators.auto import estimators
from miest.result import MIResult

N = 300


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, N)
    return {
        "layer1": rng.normal(size=(N, 2)) + labels[:, None],
        "layer2": np.maximum(rng.normal(size=(N, 2)) + labels[:, None], 0),
        "w[0]": rng.normal(size=N) + labels,
        "labels": labels,
        "flat": np.full(N, np.nan),
    }


@pytest.fixture
def acts(tmp_path: Path, arrays: dict[str, np.ndarray]) -> str:
    np.savez(tmp_path / "acts.npz", **arrays)
    return str(tmp_path / "acts.npz")


@pytest.fixture
def table(tmp_path: Path) -> str:
    rng = np.random.default_rng(1)
    x, z = rng.normal(size=(2, N))
    rows = zip(x, z, x + z + rng.normal(size=N), rng.integers(0, 99, N), rng.choice(["f", "m"], N), strict=True)
    lines = ["a,b,out,count,sex", *(",".join(map(str, row)) for row in rows)]
    (tmp_path / "data.csv").write_text("\n".join(lines))
    return str(tmp_path / "data.csv")


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["estimate", *arguments])
    assert result.exit_code == code, result.output
    if code:
        assert isinstance(result.exception, SystemExit)
    return result


def written(*arguments: str, code: int = 0) -> list[dict[str, Any]]:
    plain = json.loads(run(*arguments, "--json", "-", code=code).stdout)
    assert isinstance(plain, list)
    return plain


def rows_of(text: str) -> list[list[str]]:
    """Cells of the table, which are at least two spaces apart."""
    lines = text.splitlines()
    rule = next(i for i, line in enumerate(lines) if set(line.strip()) == {"─"})
    body = [lines[rule - 1]]
    for line in lines[rule + 1 :]:
        if not line.strip():
            break
        body.append(line)
    return [re.split(r"\s{2,}", line.strip()) for line in body]


# --- exact


def test_one_estimate_prints_its_report(table: str) -> None:
    out = run(table, "--x", "a", "--y", "out", "--estimator", "ksg").stdout
    data = miest.load(table)
    result = miest.KSG().estimate(data["a"], data["out"])
    assert f"{result.value:.6f} nats = {result.bits:.6f} bits" in out
    assert "KSG(k=3" in out


@pytest.mark.parametrize(("units", "scale"), [("nats", 1.0), ("bits", 1 / math.log(2))])
def test_the_table_is_in_the_units_asked_for(acts: str, arrays: dict[str, Any], units: str, scale: float) -> None:
    asked = (acts, "--x", "layer*", "--y", "labels", "--continuous", "y", "--estimator", "ksg:k=4", "--units", units)
    heading, *rows = rows_of(run(*asked).stdout)
    assert f"value ({units})" in heading
    assert len(rows) == 2
    for row in rows:
        result = miest.KSG(k=4).estimate(arrays[row[0]], miest.continuous(arrays["labels"]))
        assert row[1:4] == ["KSG(k=4)", "I(X;Y)", f"{result.value * scale:.4f}"]
        assert result.ceiling is not None
        assert f"{result.ceiling * scale:.4f}" in row
        assert str(N) in row


def test_one_estimate_in_bits_is_a_row(table: str) -> None:
    _, row = rows_of(run(table, "--x", "a", "--y", "out", "--estimator", "gaussian", "--units", "bits").stdout)
    data = miest.load(table)
    result = miest.Gaussian().estimate(data["a"], data["out"])
    assert f"{result.bits:.4f}" in row
    if result.interval is not None:
        assert f"{result.interval[0] / math.log(2):.4f} to {result.interval[1] / math.log(2):.4f}" in row


@pytest.mark.parametrize("units", ["nats", "bits"])
def test_json_is_in_nats_and_comes_back(acts: str, tmp_path: Path, arrays: dict[str, Any], units: str) -> None:
    out = tmp_path / "out.json"
    run(acts, "--x", "layer*", "--y", "labels", "--estimator", "ross", "--units", units, "--json", str(out))
    plain = json.loads(out.read_text())
    assert [row["x"] for row in plain] == ["layer1", "layer2"]
    for row in plain:
        assert (row["file"], row["y"], row["y_file"], row["given"]) == (acts, "labels", acts, None)
        assert row["units"] == "nats"
        result = MIResult.from_dict(row["result"])
        assert result.value == miest.Ross().estimate(arrays[row["x"]], arrays["labels"]).value
        assert result.estimator == miest.Ross()
        assert result.to_dict() == row["result"]


def test_json_on_stdout_is_alone_there(acts: str) -> None:
    result = run(acts, "--x", "layer*", "--y", "labels", "--json", "-")
    assert len(json.loads(result.stdout)) == 2
    assert "layer1" in result.stderr


def test_condition(table: str) -> None:
    (row,) = written(table, "--x", "a", "--y", "out", "--given", "b", "--estimator", "gaussian")
    data = miest.load(table)
    expected = miest.Gaussian().estimate(data["a"], data["out"], given=data["b"])
    assert row["result"]["value"] == expected.value
    assert row["given"] == "b"


def test_y_left_out_is_the_identity_of_the_row(acts: str, arrays: dict[str, Any]) -> None:
    (row,) = written(acts, "--x", "layer1", "--estimator", "kde:noise_var=0.1")
    assert row["result"]["value"] == miest.KDE(noise_var=0.1).estimate(arrays["layer1"]).value
    assert row["y"] is None


def test_auto_says_what_it_picked(table: str) -> None:
    assert "auto picked KSG" in run(table, "--x", "a", "--y", "out").stdout
    _, row = rows_of(run(table, "--x", "a", "--y", "sex", "--units", "bits").stdout)
    assert row[1] == "Auto: MixedKSG"


# --- properties


def test_commas_join_columns_and_patterns_do_not(table: str) -> None:
    data = miest.load(table)
    (joined,) = written(table, "--x", "a,b", "--y", "out", "--estimator", "gaussian")
    both = np.column_stack([data["a"], data["b"]])
    assert joined["x"] == "a,b"
    assert joined["result"]["value"] == miest.Gaussian().estimate(both, data["out"]).value
    alone = written(table, "--x", "[ab]", "--y", "out", "--estimator", "gaussian")
    assert [row["x"] for row in alone] == ["a", "b"]
    assert alone[0]["result"]["value"] == miest.Gaussian().estimate(data["a"], data["out"]).value


def test_declared_kinds_reach_the_estimator(table: str) -> None:
    data = miest.load(table)
    mixed = written(table, "--x", "a,count", "--y", "out", "--continuous", "x", "--estimator", "gaussian")
    both = np.column_stack([data["a"], data["count"]])
    assert mixed[0]["result"]["value"] == miest.Gaussian().estimate(both, data["out"]).value
    (row,) = written(table, "--x", "a", "--y", "count", "--discrete", "y", "--continuous", "x")
    assert row["result"]["estimator"]["class"] == "MixedKSG"


def test_patterns_repeats_and_brackets(acts: str) -> None:
    rows = written(acts, "--x", "w[0]", "--x", "layer*", "--x", "layer1", "--y", "labels", "--estimator", "ross")
    assert [row["x"] for row in rows] == ["w[0]", "layer1", "layer2"]
    out = run(acts, "--x", "w[0]", "--x", "layer1", "--y", "labels", "--estimator", "ross").stdout
    assert [row[0] for row in rows_of(out)[1:]] == ["w[0]", "layer1"]  # not eaten as markup


def test_every_layer_by_every_estimator_and_each_note_once(acts: str) -> None:
    result = run(acts, "--x", "layer*", "--y", "labels", "--estimator", "binning:bins=300", "--estimator", "ross")
    rows = rows_of(result.stdout)[1:]
    assert [(row[0], row[1]) for row in rows] == [
        (layer, method) for layer in ("layer1", "layer2") for method in ("Binning(bins=300)", "Ross")
    ]
    assert any("SMALL_SAMPLE" in cell or "SINGLETON_BINS" in cell for cell in rows[0])
    notes = [line for line in result.stdout.splitlines() if re.match(r"layer\d, Binning", line)]
    assert notes
    assert len({line.partition(": ")[2] for line in notes}) == len(notes)


def test_two_files_with_one_array_each_need_no_names(tmp_path: Path, arrays: dict[str, Any]) -> None:
    np.save(tmp_path / "layer3.npy", arrays["layer1"])
    torch.save(torch.from_numpy(arrays["labels"]), tmp_path / "labels.pt")
    (row,) = written(str(tmp_path / "layer3.npy"), "--y-file", str(tmp_path / "labels.pt"), "--estimator", "ross")
    assert (row["x"], row["y"], row["y_file"]) == ("layer3", "labels", str(tmp_path / "labels.pt"))
    assert row["result"]["value"] == miest.Ross().estimate(arrays["layer1"], arrays["labels"]).value


@pytest.mark.parametrize(
    ("spec", "made"),
    [
        ("KSG", miest.KSG()),
        ("ksg:k=5,variant=2", miest.KSG(k=5, variant=2)),
        ("KSG(k=5, variant=2)", miest.KSG(k=5, variant=2)),
        ("mixed-ksg", miest.MixedKSG()),
        ("MixedKSG", miest.MixedKSG()),
        ("gaussian_copula", miest.GaussianCopula()),
        ("binning:bins=4,correction=miller-madow", miest.Binning(bins=4, correction="miller-madow")),
        ("binning:bins=4,strategy='quantile'", miest.Binning(bins=4, strategy="quantile")),
        ("kde:noise_var=1e-1", miest.KDE(noise_var=0.1)),
        ("ksg:neighbours=kdtree", miest.KSG(neighbours="kdtree")),
    ],
)
def test_estimators_by_name_and_settings(acts: str, spec: str, made: Any) -> None:
    (row,) = written(acts, "--x", "layer1", "--y", "labels", "--estimator", spec)
    assert MIResult.from_dict(row["result"]).estimator == made


def test_every_exported_estimator_has_a_name_on_the_command_line(acts: str) -> None:
    for made in estimators().values():
        result = run(acts, "--x", "layer1", "--estimator", f"{made.__name__}:no_such=1", code=2)
        assert f"{made.__name__} has no setting 'no_such'" in " ".join(result.stderr.split())


def test_no_colour_and_no_bar_without_a_terminal(acts: str) -> None:
    result = run(acts, "--x", "layer*", "--y", "labels", "--estimator", "ross")
    assert "\x1b" not in result.output
    assert result.stderr == ""


def test_same_seed_same_output(acts: str) -> None:
    first, second = (written(acts, "--x", "layer1", "--y", "labels", "--seed", "7") for _ in range(2))
    first[0]["result"].pop("seconds")
    second[0]["result"].pop("seconds")
    assert first == second


# --- refusals


def test_a_layer_that_is_refused_leaves_the_others(acts: str) -> None:
    result = run(acts, "--x", "flat", "--x", "layer1", "--y", "labels", "--estimator", "ross", code=1)
    flat, layer1 = rows_of(result.stdout)[1:]
    assert flat[:3] == ["flat", "Ross", "failed"]
    assert float(layer1[3]) > 0
    assert re.search(rf"flat, Ross: x has {N} NaN", result.stdout)
    assert re.fullmatch(rf"Error: flat, Ross: x has {N} NaN[^\n]*\n", result.stderr)


def test_a_refusal_is_in_the_json_too(acts: str) -> None:
    bad, good = written(acts, "--x", "layer1", "--estimator", "ksg", "--estimator", "kde", code=1)
    assert bad["result"] is None
    assert "KSG needs y" in bad["error"]
    assert good["result"]["value"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.npz", "--x", "a"], "there is no file nowhere.npz"),
        (["{acts}", "--x", "layr1"], r"named 'layr1'\. Did you mean 'layer1'"),
        (["{acts}", "--x", "layer1", "--y", "lables"], "Did you mean 'labels'"),
        (["{acts}"], "has 5 arrays: name those to use with --x. It has: layer1, layer2"),
        (["{acts}", "--x", "layer1", "--y", "layer*"], r"--y layer\* names 2 arrays \(layer1, layer2\)"),
        (["{acts}", "--x", "w[0]", "--y", "labels", "--y-file", "gone.npy"], "there is no file gone.npy"),
        (["{acts}", "--x", "layer1,labels"], r"mixes kinds \(layer1 float64, labels int64\).*--continuous"),
        (["{acts}", "--x", "layer1", "--json", "{acts}/out.json"], "--json .* cannot be written: Not a directory"),
        (["{acts}", "--x", "layer1", "--json", "{acts}.d/o.json"], "--json .* cannot be written: No such directory"),
        (["{table}", "--x", "a", "--y", "out", "--estimator", "ksg:k=300"], "k=300 needs"),
        (["{table}", "--x", "sex,out", "--continuous", "x", "--y", "a"], "mixes kinds"),
    ],
)
def test_files_and_names_that_are_wrong(acts: str, table: str, arguments: list[str], message: str) -> None:
    result = run(*[argument.format(acts=acts, table=table) for argument in arguments], code=1)
    assert re.fullmatch(rf"Error: [^\n]*{message}[^\n]*\n", result.stderr), result.stderr


@pytest.mark.parametrize("where", ["missing/out.json", "acts.npz/out.json", ""])
def test_json_that_cannot_be_written_fails_before_the_work(
    acts: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked: list[int] = []
    monkeypatch.setattr(miest, "mutual_information", lambda *_, **__: worked.append(1))
    run(acts, "--x", "layer1", "--y", "labels", "--json", str(tmp_path / where), code=1)
    assert not worked


def test_a_write_that_fails_after_the_work_loses_no_table(acts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    result = run(acts, "--x", "layer*", "--y", "labels", "--json", f"{acts}.json", code=1)
    assert [row[0] for row in rows_of(result.stdout)[1:]] == ["layer1", "layer2"]
    assert "cannot be written: No space left on device" in result.stderr


def test_json_on_the_command_line_has_no_infinity(acts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    infinite = MIResult(value=math.inf, n_samples=N, estimator=miest.KSG())
    monkeypatch.setattr(miest.Auto, "estimate", lambda *_, **__: infinite)
    (row,) = written(acts, "--x", "layer1", "--y", "labels")
    assert row["result"]["value"] == "inf"
    assert MIResult.from_dict(row["result"]) == infinite


def test_a_short_y_fails_by_its_numbers(tmp_path: Path, acts: str) -> None:
    np.save(tmp_path / "y.npy", np.zeros(3, int))
    result = run(acts, "--x", "layer1", "--y-file", str(tmp_path / "y.npy"), "--estimator", "ross", code=1)
    assert f"x has {N} samples and y has 3" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'FILE'"),
        (["{acts}", "--units", "dits"], "'dits' is not one of"),
        (
            ["{acts}", "--estimator", "kgs"],
            "'kgs' is not one of aamine, auto, binning, ",
        ),
        (["{acts}", "--estimator", "ksg:neighbors=3"], "no setting 'neighbors': it has k, variant"),
        (["{acts}", "--estimator", "ksg:k=0"], "ksg:k=0: k=0 must be an integer of at least 1"),
        (["{acts}", "--estimator", "ksg:k=many"], "k='many' must be an integer"),
        (["{acts}", "--estimator", "ksg:5"], "not of the form key=value"),
        (["{acts}", "--estimator", "ksg:**{{}}"], "no setting '\\*\\*'"),
        (["{acts}", "--estimator", "ksg k=5"], "not of the form name or name:key=value"),
        (["{acts}", "--estimator", "auto:k=5"], "Auto has no setting 'k': it has neural"),
        (["{acts}", "--discrete", "x", "--continuous", "x"], "x cannot be both"),
    ],
)
def test_usage_errors(acts: str, arguments: list[str], message: str) -> None:
    result = run(*[argument.format(acts=acts) for argument in arguments], code=2)
    assert re.search(message, " ".join(result.stderr.split())), result.stderr


def test_settings_are_never_executed(acts: str, tmp_path: Path) -> None:
    target = tmp_path / "ran"
    for value in (f"__import__('os').mkdir('{target}')", f"3)+open('{target}','w').write('x'"):
        run(acts, "--x", "layer1", "--estimator", f"ksg:k={value}", code=2)
    assert not target.exists()


# --- workflow


def command(*arguments: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "miest", *arguments], capture_output=True, text=True, timeout=300, **kwargs
    )


def test_a_process_of_its_own(acts: str) -> None:
    done = command("estimate", acts, "--x", "layer*", "--y", "labels", "--estimator", "binning", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert [row["x"] for row in json.loads(done.stdout)] == ["layer1", "layer2"]
    assert "\x1b" not in done.stderr


def test_failure_in_a_process_of_its_own_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 and then nothing")
    done = command("estimate", str(tmp_path / "bad.npz"), "--x", "a")
    assert done.returncode == 1
    assert re.fullmatch(r"Error: .*bad\.npz cannot be read as \.npz: .*\n", done.stderr)


def test_help_is_quick_and_lists_what_there_is() -> None:
    code = (
        "import sys; from miest.cli import main\n"
        "try: main(['estimate', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'scipy', 'numba', 'torch', 'rich', 'joblib', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"COLUMNS": "80"}
    )
    assert done.returncode == 0, done.stderr
    assert "Examples:\n    miest estimate data.csv --x height --y weight\n" in done.stdout
    for option in ("--x", "--y", "--given", "--estimator", "--units", "--json", "--seed", "--discrete", "--y-file"):
        assert option in done.stdout
    (named,) = re.findall(r"classes that miest exports \(([^)]*)\.\.\.\)", " ".join(done.stdout.split()))
    for name in re.findall(r"[\w-]+", named.replace("- ", "-")):
        assert name.replace("-", "") in estimators()


def test_a_terminal_gets_a_bar_and_a_table_that_fits(acts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from miest import cli

    monkeypatch.setattr(click.testing._NamedTextIOWrapper, "isatty", lambda self: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    result = run(acts, "--x", "layer*", "--y", "labels", "--estimator", "binning")
    assert "2/2" in result.stderr
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", result.stdout)
    heading = rows_of(plain)[0]
    assert "interval" not in heading  # nothing is said by a column of blanks
    assert max(map(len, plain.splitlines())) <= 80
    assert cli.main is main


def test_info() -> None:
    done = CliRunner().invoke(main, ["info"])
    assert done.exit_code == 0
    for word in ("miest", "python", "numba", "torch", "faiss", "cores", "neighbours='kdtree'", "runs here"):
        assert word in done.stdout


def test_info_as_json_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    import miest_kernels

    plain_version = importlib.metadata.version

    def version(name: str) -> str:
        if name == "h5py":
            raise importlib.metadata.PackageNotFoundError(name)
        return plain_version(name)

    def broken() -> Any:
        raise ImportError("neighbours='broken' needs a device.")

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setitem(miest_kernels.BACKENDS, "broken", broken)
    found = json.loads(CliRunner().invoke(main, ["info", "--json"]).stdout)
    assert found["miest"] == miest.__version__
    assert found["packages"]["numpy"] == np.__version__
    assert found["neighbours"]["reference"] is None
    assert found["neighbours"]["broken"] == "neighbours='broken' needs a device."
    assert found["extras"]["data"] == ["h5py"]
    out = CliRunner().invoke(main, ["info"]).stdout
    assert "lacks h5py: pip install 'miest[data]'" in out
    assert "needs a device" in out


def test_version() -> None:
    done = command("--version")
    assert (done.returncode, done.stdout) == (0, f"miest, version {miest.__version__}\n")
