"""Rewrites what README.md says was measured: every number and output between ``<!-- name:start -->`` and ``:end -->``.

``make readme`` measures everything; ``python notebooks/readme.py ksg kde`` only those sections. All seeds are fixed.
"""

import contextlib
import io
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy import integrate, stats

import miest

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
FLAG_SHARES = ("hit", "false_alarm")
DOCUMENTED = re.compile(r"```python\n(.*?)```", re.DOTALL)


def section(text: str, name: str) -> str:
    """What stands between the markers of a section."""
    found = re.search(_markers(name), text, re.DOTALL)
    if found is None:
        raise ValueError(f"README.md has no section {name!r}: put <!-- {name}:start --> and <!-- {name}:end --> in it.")
    return found[2]


def rewritten(text: str, name: str, body: str) -> str:
    """The text with another body in that section."""
    section(text, name)
    return re.sub(_markers(name), lambda found: f"{found[1]}\n{body.strip()}\n{found[3]}", text, flags=re.DOTALL)


def _markers(name: str) -> str:
    return rf"(<!-- {name}:start -->)(.*?)(<!-- {name}:end -->)"


def example_output(text: str) -> str:
    """What the example in the README prints."""
    code = DOCUMENTED.search(section(text, "example"))
    if code is None:
        raise ValueError("the section 'example' of README.md holds no block of python.")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code[1], "README.md", "exec"), {"__name__": "readme"})
    return out.getvalue()


# The outputs


def output() -> str:
    return f"```text\n{example_output(README.read_text(encoding='utf-8'))}```"


def demo() -> str:
    """Run the demo; its picture goes beside this file, and a command on its file into the README."""
    from miest.demo import ABOUT_INPUT, ABOUT_LABEL, command, draw, read_results, train_and_record

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recorded = train_and_record()
        recorded.save(folder / "activations.npz")
        found = {}
        for what, specs, y in (("input", ABOUT_INPUT, None), ("label", ABOUT_LABEL, "labels")):
            arguments = command(folder / "activations.npz", specs, folder / f"{what}.json", y=y)
            subprocess.run([sys.executable, "-m", "miest", *arguments], check=True, capture_output=True)
            found[what] = read_results(folder / f"{what}.json")
        picture = draw(found["input"], found["label"], recorded)
        picture.savefig(HERE / "layers.png", dpi=100, metadata={"Software": None})
        shown = "miest estimate activations.npz --x layer1 --x layer4 --y labels --estimator kde:noise_var=0.1"
        shown += " --estimator ross:k=5"
        done = subprocess.run(
            [sys.executable, "-m", *shown.split()],
            check=True,
            capture_output=True,
            text=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": "", "PYTHONIOENCODING": "utf-8"},
        )
    lines = "\n".join(line.rstrip() for line in done.stdout.splitlines() if line.strip())
    return f"```console\n$ {shown}\n{lines}\n```"


def flags() -> str:
    return "\n".join(
        ["| flag | what was seen |", "| --- | --- |", *(f"| `{f.name}` | {f.value} |" for f in miest.Flag)]
    )


# Tables of measured limits


def ksg() -> str:
    rho, truth = 0.6, -0.5 * math.log(1 - 0.6**2)
    sizes = ((500, 10), (2_000, 10), (10_000, 3))
    rows = []
    for d in (1, 2, 4, 8, 16):
        row = [f"{d} + {d}", f"{d * truth:.2f}"]
        for n, seeds in sizes:
            results = [miest.KSG().estimate(*gaussian_pair(n, rho, seed, d)) for seed in range(seeds)]
            row.append(mean_and_flags(results))
        rows.append(row)
    return table(["dimensions", "truth", *(f"n = {n:,}" for n, _ in sizes)], rows)


def ceiling() -> str:
    rows = []
    for truth in (1, 2, 3, 4, 5, 6, 8):
        rho = math.sqrt(-math.expm1(-2 * truth))
        row = [f"{truth}"]
        for n in (100, 1_000, 10_000):
            row.append(mean_and_flags([miest.KSG().estimate(*gaussian_pair(n, rho, seed)) for seed in range(10)]))
        rows.append(row)
    limits = [miest.KSG().estimate(*gaussian_pair(n, 0.5, 0)).ceiling for n in (100, 1_000, 10_000)]
    return table(
        ["truth", *(f"n = {n:,}" for n in (100, 1_000, 10_000))], [*rows, ["ceiling", *(f"{c:.2f}" for c in limits)]]
    )


def classes() -> str:
    std, m = 0.5, 10
    truth = information_of_location(np.arange(m), std)
    rows = []
    for per_class in (3, 5, 10, 30, 100, 300):
        row = [f"{per_class}", f"{m * per_class:,}"]
        for estimator in (miest.MixedKSG(), miest.Ross(), miest.KDE(noise_var=0.01)):
            results = []
            for seed in range(20):
                rng = np.random.default_rng(seed)
                y = rng.permutation(np.repeat(np.arange(m), per_class))
                results.append(estimator.estimate(y + std * rng.normal(size=y.size), y))
            row.append(mean_and_flags(results, spread=True))
        rows.append(row)
    noisy = information_of_location(np.arange(m), math.hypot(std, 0.1))
    rows.append(["truth", "", f"{truth:.2f}", f"{truth:.2f}", f"{noisy:.2f}"])
    return table(["samples a class", "n", "MixedKSG", "Ross", "KDE, noise variance 0.01"], rows)


def mixed() -> str:
    rows = []
    for name, truth, sample in mixtures():
        row = [name, f"{truth:.2f}"]
        for n in (300, 3_000):
            drawn = [sample(n, np.random.default_rng(seed)) for seed in range(10)]
            row += [
                mean_and_flags([method.estimate(*xy) for xy in drawn]) for method in (miest.MixedKSG(), miest.KSG())
            ]
        rows.append(row)
    heads = (f"{name}, n = {n:,}" for n in (300, 3_000) for name in ("MixedKSG", "KSG"))
    return table(["X and Y", "truth", *heads], rows)


def shapes() -> str:
    n, seeds = 5_000, 10
    estimators = (miest.KSG(), miest.Gaussian(), miest.GaussianCopula(), miest.Binning(bins=20))
    rows = []
    for name, truth, sample in dependences():
        row = [name, f"{truth:.2f}"]
        for estimator in estimators:
            row.append(mean_and_flags([estimator.estimate(*sample(n, np.random.default_rng(s))) for s in range(seeds)]))
        rows.append(row)
    return table(["dependence", "truth", *(miest_name(e) for e in estimators)], rows)


def binning() -> str:
    rows = []
    for rho in (0.0, 0.8):
        for n in (1_000, 10_000):
            for bins in (5, 30, 100):
                row = [f"{abs(0.5 * math.log(1 - rho**2)):.2f}", f"{n:,}", f"{bins}"]
                for correction in (None, "miller-madow", "grassberger", "chao-shen"):
                    method = miest.Binning(bins=bins, correction=correction)
                    row.append(mean_and_flags([method.estimate(*gaussian_pair(n, rho, s)) for s in range(10)]))
                rows.append(row)
    return table(["truth", "n", "bins", "plug-in", "Miller-Madow", "Grassberger", "Chao-Shen"], rows)


def kde() -> str:
    rows = []
    for d in (1, 2, 5, 10, 20):
        for noise_var in (0.1, 1.0):
            row = [f"{d}", f"{noise_var:g}", f"{d / 2 * math.log1p(1 / noise_var):.2f}"]
            for n in (500, 5_000):
                t = np.random.default_rng(0).normal(size=(n, d))
                result = miest.KDE(noise_var=noise_var).estimate(t)
                bounds = f"{result.diagnostics.lower:.2f} to {result.diagnostics.upper:.2f}"
                row.append(f"{bounds} {'⚑' if result.flags else ''}".strip())
            rows.append(row)
    return table(["dimensions", "noise variance", "truth", "n = 500", "n = 5,000"], rows)


def entropies() -> str:
    rows = []
    for n in (100, 1_000, 10_000):
        row = [f"uniform on 1,000 symbols, n = {n:,}", f"{math.log(1000):.2f}"]
        for correction in (None, "miller-madow", "grassberger", "chao-shen", "nsb"):
            method = miest.PlugIn(correction=correction)
            results = [method.estimate(np.random.default_rng(s).integers(0, 1000, n)) for s in range(10)]
            row.append(mean_and_flags(results))
        rows.append(row)
    return table(["H(X)", "truth", "plug-in", "Miller-Madow", "Grassberger", "Chao-Shen", "NSB"], rows)


def densities() -> str:
    rows = []
    for d in (1, 2, 5, 10, 20):
        h = d / 2 * math.log(2 * math.pi * math.e)
        row = [f"{d}"]
        results = [
            miest.KozachenkoLeonenko().estimate(np.random.default_rng(s).normal(size=(2000, d))) for s in range(10)
        ]
        row += [f"{h:.2f}", mean_and_flags(results)]
        if d == 1:
            rows.append([*row, "", ""])
            continue
        rho = 0.5  # of every pair of columns
        truth = -0.5 * ((d - 1) * math.log(1 - rho) + math.log(1 + (d - 1) * rho))
        found = []
        for seed in range(10):
            rng = np.random.default_rng(seed)
            x = math.sqrt(1 - rho) * rng.normal(size=(2000, d)) + math.sqrt(rho) * rng.normal(size=(2000, 1))
            found.append(miest.total_correlation(x))
        rows.append([*row, f"{truth:.2f}", mean_and_flags(found)])
    return table(["columns", "h(X)", "KozachenkoLeonenko", "TC(X), rho = 0.5", "TotalCorrelation"], rows)


def validation() -> str:
    """The errors of every estimator on the full suite, from what ``make validate`` left; else what stands there."""
    summary, trained = (HERE.parent / "validation" / name for name in ("summary.json", "trained/summary.json"))
    if not summary.exists():
        return section(README.read_text(encoding="utf-8"), "validation")
    found = json.loads(summary.read_text(encoding="utf-8"))
    if not trained.exists():
        return validation_tables(found)
    critics = json.loads(trained.read_text(encoding="utf-8"))
    both = validation_tables({**found, "overall": [*found["overall"], *critics["overall"]]})
    words = f"`auto` and `Discriminator` train critics: n = {critics['sizes'][-1]:,} and {len(critics['seeds'])} seed."
    return "\n\n".join([both, words, flag_table(critics["flags"], "of those two, ")])


def validation_tables(found: Mapping[str, Any]) -> str:
    """Markdown of the errors over continuous tasks at each size, over the other kinds at the largest, and of flags."""
    n = max(found["sizes"])
    parts = []
    for group in ("continuous", "mixed", "discrete", "conditional"):
        rows = [row for row in found["overall"] if row["group"] == group and row["tasks"]]
        if not rows:
            continue
        count = max(row["tasks"] + row["unanswered"] for row in rows)
        sizes = found["sizes"] if group == "continuous" else [n]
        lines = []
        for row in sorted(rows, key=lambda row: (row["n"], row["mean_error"])):
            if row["n"] in sizes:
                errors = [f"{row[key]:.3f}" for key in ("mean_error", "median_error", "worst_error")]
                held = "" if row["coverage_if_right"] is None else f"{row['coverage_if_right']:.0%}"
                name = f"`{row['estimator']}`"
                silent = f"{row['silent']:.0%}"
                lines.append([name, f"{row['n']:,}", f"{row['tasks']}", *errors, row["worst_task"], silent, held])
        head = [f"{count} {group} tasks" if count > 1 else f"one {group} task", "n", "answered", "mean", "median"]
        parts.append(table([*head, "worst", "on", "silent", "covered"], lines))
    parts.append(flag_table(found["flags"]))
    measured = (
        f"{found['tasks']} tasks, {len(found['seeds'])} seeds, n = {' and '.join(f'{n:,}' for n in found['sizes'])}."
    )
    return "\n\n".join([measured, *parts])


def flag_table(flags: Sequence[Mapping[str, Any]], whose: str = "") -> str:
    """Markdown of how often flags fire where an estimator is wrong, and elsewhere."""
    rates = [
        [f"`{row['flag']}`" if row["flag"] != "any" else "any", *(f"{row[key] or 0:.0%}" for key in FLAG_SHARES)]
        for row in flags
    ]
    wrong, right = flags[-1]["wrong"], flags[-1]["right"]
    return table([f"{whose}flag", f"where wrong ({wrong:,} values)", f"elsewhere ({right:,})"], rates)


def critics() -> str:
    """What ``staircase.py`` and ``neural_speed.py`` measured last."""
    staircase, seconds = ((HERE / name).read_text(encoding="utf-8") for name in ("staircase.md", "neural_speed.md"))
    words = (
        "Seconds until MINE is within 5% of 4 nats on rows held out, d = 20 + 20, batches of 512, two threads, median "
        "of 5 seeds, all in one process:"
    )
    return "\n\n".join([staircase.strip(), words, seconds.strip()])


def speed() -> str:
    """What ``make bench`` measured last, on the machine it names."""
    report = json.loads((HERE.parent / "kernels" / "bench" / "results" / "cpu.json").read_text(encoding="utf-8"))
    rows = [
        [
            row["workload"],
            row["against"],
            f"{row['ours_s']:.3g} s",
            f"{row['theirs_s']:.3g} s",
            f"{row['ratio']:.3g}x",
            f"{row['memory_mb']:.0f} MB",
        ]
        for row in report["rows"]
    ]
    where = f"{report['machine']}, {report['threads']} threads, {report['date']}; float32, k = 3."
    head = ["workload", "against", "miest", "theirs", "ratio", "memory beside the data"]
    return where + "\n\n" + table(head, rows)


# What is measured on


def gaussian_pair(n: int, rho: float, seed: int, d: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, rho * x + math.sqrt(1 - rho**2) * rng.normal(size=(n, d))


def information_of_location(places: np.ndarray, std: float) -> float:
    """I(Y;X) of X = places[Y] + a Gaussian, Y uniform, by quadrature."""
    x = np.linspace(places.min() - 12 * std, places.max() + 12 * std, 20_001)
    p = stats.norm.pdf(x[:, None], places, std).mean(axis=1)
    return entropy_of(p, x) - 0.5 * math.log(2 * math.pi * math.e * std**2)


def entropy_of(density: np.ndarray, x: np.ndarray) -> float:
    return float(integrate.simpson(-density * np.log(np.maximum(density, 1e-300)), x=x))


def mixtures() -> Iterable[tuple[str, float, Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]]]:
    """Names, true MI and samplers of variables that are neither discrete nor continuous, or one of each, as floats."""

    def steps(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x = rng.integers(0, 5, n)
        return x.astype(float), x + 2 * rng.uniform(size=n)

    def rectified(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x, y = gaussian_pair(n, 0.8, int(rng.integers(2**31)))
        return np.maximum(x, 0), y

    yield "X one of 0 to 4, Y uniform on [X, X + 2]", math.log(5) - 4 / 5 * math.log(2), steps
    y = np.linspace(-9, 9, 20_001)
    at_zero = 2 * stats.norm.pdf(y) * stats.norm.cdf(-0.8 / 0.6 * y)  # density of Y where the unit is off
    noise = 0.5 * math.log(2 * math.pi * math.e * 0.36)
    rectified_truth = 0.5 * math.log(2 * math.pi * math.e) - 0.5 * entropy_of(at_zero, y) - 0.5 * noise
    yield "ReLU of a Gaussian, and a Gaussian correlated 0.8 with it", rectified_truth, rectified


def dependences() -> Iterable[tuple[str, float, Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]]]:
    """Names, true MI and samplers of dependences; the Gaussian ones have rho = 0.8."""

    def gaussian(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x = rng.normal(size=n)
        return x, 0.8 * x + 0.6 * rng.normal(size=n)

    def exponentiated(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x, y = gaussian(n, rng)
        return np.exp(x), np.exp(y)

    def uniform_noise(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x = rng.uniform(size=n)
        return x, x + rng.uniform(size=n)

    def parabola(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x = rng.normal(size=n)
        return x, x**2 + 0.5 * rng.normal(size=n)

    def student(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        both = rng.normal(size=(2, n)) / np.sqrt(rng.chisquare(3, size=n) / 3)
        return both[0], both[1]

    half = -0.5 * math.log(1 - 0.8**2)
    yield "Gaussian", half, gaussian
    yield "the same through exp in both", half, exponentiated
    yield "Y = X + N, both uniform on [0, 1]", 0.5, uniform_noise
    yield "Y = X² + N, both Gaussian, std 1 and 0.5", _parabola_truth(0.5), parabola
    yield "Student t with 3 degrees of freedom, uncorrelated", _student_truth(3), student


def _parabola_truth(std: float) -> float:
    """h(Y) - h(N), the density of Y by quadrature over X."""
    x = np.linspace(-9, 9, 4_001)
    y = np.linspace(-4, 45, 4_001)
    joint = stats.norm.pdf(x) * stats.norm.pdf(y[:, None], x**2, std)
    p = integrate.simpson(joint, x=x, axis=1)
    return entropy_of(p, y) - 0.5 * math.log(2 * math.pi * math.e * std**2)


def _student_truth(dof: int) -> float:
    """2 h(one) - h(both) of the uncorrelated bivariate t; its entropies are closed forms."""
    one, both = stats.t(dof).entropy(), stats.multivariate_t(shape=np.eye(2), df=dof).entropy()
    return float(2 * one - both)


# Text


def miest_name(estimator: object) -> str:
    from miest.estimators.spec import short

    return short(estimator)


def mean_and_flags(results: Sequence[miest.MIResult], *, spread: bool = False) -> str:
    """Mean over seeds, with the standard deviation if asked for; ⚑ where most results carry a flag."""
    values = np.array([result.value for result in results])
    flagged = sum(bool(result.flags) for result in results) > len(results) / 2
    text = f"{values.mean():.2f}" + (f" ± {values.std(ddof=1):.2f}" if spread else "")
    text = text.replace("-0.00", "0.00")
    return f"{text} ⚑" if flagged else text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


SECTIONS: dict[str, Callable[[], str]] = {
    "output": output,
    "demo": demo,
    "flags": flags,
    "ksg": ksg,
    "ceiling": ceiling,
    "classes": classes,
    "mixed": mixed,
    "shapes": shapes,
    "binning": binning,
    "kde": kde,
    "entropies": entropies,
    "densities": densities,
    "critics": critics,
    "validation": validation,
    "speed": speed,
}


def main(chosen: Sequence[str]) -> None:
    unknown = sorted(set(chosen) - set(SECTIONS))
    if unknown:
        raise SystemExit(f"no section {', '.join(unknown)}: there are {', '.join(SECTIONS)}.")
    for name in chosen or SECTIONS:
        started = perf_counter()
        body = SECTIONS[name]()
        README.write_text(rewritten(README.read_text(encoding="utf-8"), name, body), encoding="utf-8")
        print(f"{name}: {perf_counter() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
