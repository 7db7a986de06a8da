"""The commands ``miest plane``: what they write and say, and their refusals."""

import subprocess
import sys

import joblib
import pytest
from click.testing import CliRunner

import miest
from miest.cli import main
from miest.plane.information_plane import InformationPlane
from miest.plane.run import load_plane
from miest.plane.trajectory import Trajectory

KDE = miest.KDE(noise_var=0.1)


@pytest.fixture
def recorded(network, probe, tmp_path):
    with InformationPlane(network(), probe=probe, save=tmp_path / "a", estimate="later") as plane:
        plane.log(0, loss=2.0)
        plane.log(1, loss=1.0)
    return tmp_path / "a"


@pytest.fixture
def estimated(network, probe, tmp_path):
    with InformationPlane(network(), probe=probe, ixt=KDE, ity=[KDE, miest.KSG()], save=tmp_path / "b") as plane:
        plane.log(0)
        plane.log(1, loss=1.0)
    return tmp_path / "b"


def run(*args):
    return CliRunner().invoke(main, ["plane", *map(str, args)])


def test_a_recorded_run_is_filled(recorded, network, probe):
    told = run("estimate", recorded, "--estimator", "ksg", "--estimator", "kde:noise_var=0.1")
    assert told.exit_code == 0, told.output
    assert "2 steps, 3 layers and 3 quantities: 18 estimates" in told.output
    found = load_plane(recorded)
    with InformationPlane(network(), probe=probe, ixt=KDE, ity=[miest.KSG(), KDE]) as plane:
        plane.log(0)
        plane.log(1)
    assert sorted(found.rows, key=lambda r: r.place) == sorted(plane.trajectory.rows, key=lambda r: r.place)


def test_it_goes_on(recorded):
    assert run("estimate", recorded, "--ixt", "kde:noise_var=0.1", "--step", 0, "--layer", "[01]").exit_code == 0
    assert len(load_plane(recorded)) == 2
    assert run("estimate", recorded, "--ixt", "kde:noise_var=0.1").exit_code == 0
    before = (recorded / "trajectory.jsonl").read_bytes()
    assert run("estimate", recorded).exit_code == 0  # what it knows of by now
    assert (recorded / "trajectory.jsonl").read_bytes() == before
    assert run("estimate", recorded, "--ity", "mixed-ksg", "--quantity", "total-correlation").exit_code == 0
    assert load_plane(recorded).quantities == ("I_XT", "I_TY", "TC")


def test_jobs_are_processes(recorded, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "miest.plane.estimation.estimate_plane",
        lambda *a, **k: seen.append(joblib.parallel.get_active_backend()[1]) or load_plane(recorded),
    )
    assert run("estimate", recorded, "--estimator", "kde", "--jobs", 2).exit_code == 0
    assert run("estimate", recorded, "--estimator", "kde").exit_code == 0
    assert seen == [2, None]


def test_failures_are_told(recorded):
    told = run("estimate", recorded, "--quantity", "total-correlation", "--ity", "ksg:k=200")
    assert told.exit_code == 1
    assert "Error: I_TY of 0: DataError: k=200 needs at least 201 samples" in told.output
    assert "failed" in told.output
    assert len(load_plane(recorded).failed) == 6
    again = run("estimate", recorded, "--ity", "ksg:k=200", "--retry")
    assert again.exit_code == 1


def test_show(estimated, row):
    told = run("show", estimated)
    assert told.exit_code == 0
    lines = told.output.splitlines()
    assert lines[0].startswith("Trajectory of 2 steps, 3 layers and 3 quantities: 18 estimates")
    assert lines[1].strip() == "step 1, nats"
    assert lines[3].split() == ["layer", "I_XT", "I_TY", "I_TY[ksg]"]
    last = load_plane(estimated).select(step=1, layer="3")
    (shown,) = [line.split() for line in lines if line.split()[:1] == ["3"]]
    assert shown[1].startswith(f"{last.select(quantity='I_XT').rows[0].value:.4f}")
    assert "* I_TY[ksg]: DISCRETE in 6 of 6 estimates" in told.output


def test_show_writes_tables(estimated, tmp_path):
    found = load_plane(estimated)
    told = run("show", estimated, "--csv", "-", "--layer", "0", "--quantity", "I_XT")
    assert told.output == found.select(layer="0", quantity="I_XT").to_csv()
    assert run("show", estimated, "--json", tmp_path / "a.json").output == ""
    assert miest.plane.trajectory.Trajectory.from_json((tmp_path / "a.json").read_text()) == found
    pytest.importorskip("pyarrow")
    assert run("show", estimated, "--parquet", tmp_path / "a.parquet").exit_code == 0
    assert (tmp_path / "a.parquet").stat().st_size > 0


def test_plot_and_report(estimated, tmp_path):
    pytest.importorskip("matplotlib")
    for kind in ("plane", "timeline", "compare"):
        told = run("plot", estimated, "--kind", kind)
        assert told.output.strip() == str(estimated / f"{kind}.png")
        assert (estimated / f"{kind}.png").read_bytes().startswith(b"\x89PNG")
    told = run("plot", estimated, "--x", "I_XT", "--y", "I_TY[ksg]", "--style", "classic", "--out", tmp_path / "p.svg")
    assert told.exit_code == 0
    assert "<svg" in (tmp_path / "p.svg").read_text()
    assert run("report", estimated, "--out", tmp_path / "a.html").output.strip() == str(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text().lstrip().lower().startswith("<!doctype html>")
    assert run("report", estimated).exit_code == 0
    assert (estimated / "report.html").exists()


def test_titles_and_networks_that_are_no_chain(estimated, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    asked = []
    for name in ("plot", "plot_timeline", "plot_compare"):
        drawn = getattr(Trajectory, name)
        monkeypatch.setattr(
            Trajectory, name, lambda *a, drawn=drawn, name=name, **k: asked.append((name, k)) or drawn(*a, **k)
        )
    for kind in ("plane", "timeline", "compare"):
        told = run("plot", estimated, "--kind", kind, "--title", "A net", "--no-chain", "--out", tmp_path / "a.svg")
        assert told.exit_code == 0, told.output
    assert [(name, options["title"], options.get("chain")) for name, options in asked] == [
        ("plot", "A net", False),
        ("plot_timeline", "A net", None),  # where nothing is said of processing
        ("plot_compare", "A net", False),
    ]
    pages = {}
    for chain in ("--chain", "--no-chain"):
        assert run("report", estimated, "--title", "A <net>", chain, "--out", tmp_path / "a.html").exit_code == 0
        pages[chain] = (tmp_path / "a.html").read_text()
        assert "<title>A &lt;net&gt;</title>" in pages[chain]
    assert [f'"chain":{flag}' in page for flag, page in zip(("true", "false"), pages.values(), strict=True)] == [
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["show", "nothing"], 1, "there is no run in nothing"),
        (["estimate", "nothing"], 1, "there is no run in nothing"),
        (["plot", "nothing"], 1, "there is no run in nothing"),
        (["report", "nothing"], 1, "there is no run in nothing"),
        (["estimate", "{run}", "--estimator", "kdee"], 2, "'kdee' is not one of"),
        (["estimate", "{run}", "--estimator", "auto"], 2, "name one"),
        (["estimate", "{run}", "--ixt", "ksg"], 1, "infinite"),
        (["estimate", "{run}", "--quantity", "beauty"], 1, "'beauty' is not one of"),
        (["estimate", "{run}", "--estimator", "kde", "--layer", "fc"], 1, "is named 'fc'"),
        (["estimate", "{run}", "--estimator", "kde", "--step", "5"], 1, "no snapshot of step 5"),
        (["estimate", "{run}", "--jobs", "0"], 2, "0 jobs do nothing"),
        (["show", "{run}", "--layer", "fc"], 1, "no row has layer='fc'"),
        (["plot", "{run}", "--kind", "timeline", "--x", "I_XT"], 2, "are for --kind plane"),
        (["plot", "{run}"], 1, "no quantity"),
    ],
)
def test_refusals(recorded, args, code, says):
    told = run(*[arg.format(run=recorded) for arg in args])
    assert told.exit_code == code
    assert says in " ".join(told.output.split())


def test_an_empty_run(recorded):
    told = run("show", recorded)
    assert (told.exit_code, told.output.strip()) == (0, "Trajectory of 0 steps, 0 layers and 0 quantities: 0 estimates")


def test_commands_cost_nothing_until_they_run():
    code = (
        "import sys, miest.cli; print([m for m in ('torch', 'numpy', 'numba', 'joblib', 'rich', 'matplotlib') "
        "if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_help_shows_examples():
    for command in ("estimate", "show", "plot", "report"):
        told = run(command, "--help")
        assert told.exit_code == 0
        assert f"miest plane {command} runs/a" in told.output
    assert "estimate" in run("--help").output
