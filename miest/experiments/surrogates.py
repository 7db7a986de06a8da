"""What the surrogate objectives do to a network: compression, the trade-off with prediction, and robustness.

``python -m miest.experiments.surrogates --out DIR`` repeats figures 1, 4, 5 and 6 of Kirsch, Lyle, Gal (2020),
"Unpacking Information Bottlenecks": networks with zero-entropy noise on their latent are trained with a cross-entropy
plus gamma times E|Z|^2, log Var[Z] or log Var[Z|Y]. Larger gamma compresses more, and costs prediction. Then one
network of each objective, DVIB, VCEB, nonlinear IB and MINE-IB included, is attacked beside one with weight decay and
one with the cross-entropy alone. Every trained network is kept in ``DIR/runs``, so that a command that was stopped goes
on where it was.

As in the paper (G.3.1), I[X;Z] is the k-nearest-neighbour estimate of H[Z], since H[Z|X] is the noise's entropy, zero;
and the residual information I[X;Y|Z] is H_theta[Y|Z], an upper bound. In 16 dimensions such estimates of H[Z] are too
small where the latent is nearly a manifold; for the order of networks that differ in gamma alone that does not matter.
The paper has ResNets on CIFAR-10 and Imagenette; here it is a perceptron on Fashion-MNIST. It shows curves, no numbers.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

import click

from miest import datasets
from miest.experiments.runs import side_by_side
from miest.experiments.surrogate_training import PAPER, QUICK, SURROGATES, Name, Run, kept_run
from miest.plotting.bottleneck import plot_compression, plot_robustness


def table(runs: list[Run]) -> str:
    """Markdown table of the ends of training."""
    lines = [
        "| objective | gamma | I[X;Z] = H[Z], nats | H_theta[Y\\|Z], train | test | test accuracy |",
        "| :-- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for each in runs:
        last = each.epochs[-1]
        lines.append(
            f"| {each.name.replace('|', chr(92) + '|')} | {each.gamma:g} | {last.entropy:.1f} | {last.train:.3f} | "
            f"{last.test:.3f} | {last.accuracy:.1%} |"
        )
    return "\n".join(lines)


def robustness_table(runs: list[Run], strengths: tuple[float, ...]) -> str:
    """Markdown table of the accuracy under PGD at each strength, and its mean."""
    lines = [
        "| objective | gamma | " + " | ".join(f"{s:g}" for s in strengths) + " | mean, PGD | mean, FGSM |",
        "| :-- | ---: |" + " ---: |" * (len(strengths) + 2),
    ]
    for each in runs:
        pgd, fgsm = each.attacks["pgd"], each.attacks["fgsm"]
        numbers = " | ".join(f"{a:.1%}" for a in pgd.accuracies)
        name = each.name.replace("|", "\\|")
        lines.append(f"| {name} | {each.gamma:g} | {numbers} | {pgd.mean:.1%} | {fgsm.mean:.1%} |")
    return "\n".join(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--paper", is_flag=True, help="256 coordinates, 150 epochs, 30 gammas and all images: for a GPU.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of those of the settings.")
@click.option("--images", "count", type=click.IntRange(min=200), help="For training; likewise.")
@click.option("--rows", type=click.IntRange(min=10), help="Test images that are attacked; likewise.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Networks trained at a time.")
@click.option("--device", default="cpu", show_default=True, help="Of torch.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights, batches and noise.")
def main(
    out: Path,
    paper: bool,
    epochs: int | None,
    count: int | None,
    rows: int | None,
    jobs: int,
    device: str,
    seed: int,
) -> None:
    """Train networks with each surrogate objective, draw their courses and trade-offs, and attack them."""
    changes: dict[str, Any] = {"epochs": epochs, "images": count, "rows": rows}
    settings = replace(PAPER if paper else QUICK, **{k: v for k, v in changes.items() if v is not None})
    try:
        datasets.load(settings.data, "test")
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    out.mkdir(parents=True, exist_ok=True)
    started = perf_counter()
    wanted: dict[tuple[Name, float], bool] = {("cross-entropy", 0.0): True}
    wanted |= {(name, gamma): False for name in SURROGATES for gamma in settings.gammas[name]}
    wanted |= {(name, settings.attacked[name]): True for name in get_args(Name)}
    click.echo(f"Training {len(wanted)} networks, {jobs} at a time.")
    calls = [(out / "runs", name, gamma, attack, settings, seed, device) for (name, gamma), attack in wanted.items()]
    found = dict(zip(wanted, side_by_side(kept_run, calls, jobs), strict=True))
    plain = found["cross-entropy", 0.0]
    courses: dict[str, dict[float, list[tuple[float, float]]]] = {
        name: {
            gamma: [(each.entropy, each.train) for each in course.epochs]
            for gamma, course in [(0.0, plain), *((gamma, found[name, gamma]) for gamma in settings.gammas[name])]
        }
        for name in SURROGATES
    }
    attacked = [each for each in found.values() if each.attacks]
    click.echo("\n" + table(list(found.values())))
    click.echo("\nAccuracy under PGD:\n\n" + robustness_table(attacked, settings.strengths))
    scaled = f"{settings.data}, {settings.images or 60_000} images, {settings.latent} coordinates"
    figure = plot_compression(courses, y="H_theta[Y|Z], training", title=scaled)
    figure.savefig(out / "compression.png", dpi=150, metadata={"Software": None})
    curves = {f"{each.name}, {each.gamma:g}": each.attacks for each in attacked}
    figure = plot_robustness(curves, title=f"{scaled}; objective and gamma")
    figure.savefig(out / "robustness.png", dpi=150, metadata={"Software": None})
    kept = {"settings": asdict(settings), "seed": seed, "runs": [each.to_dict() for each in found.values()]}
    (out / "surrogates.json").write_text(json.dumps(kept, indent=1) + "\n")
    click.echo(
        f"\nWrote compression.png, robustness.png and surrogates.json into {out} in {perf_counter() - started:.0f} s."
    )


if __name__ == "__main__":
    main(prog_name="python -m miest.experiments.surrogates")
