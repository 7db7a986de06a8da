"""The staircase: Gaussians of 2, 4, 6, 8 and 10 nats in 20 + 20 columns, new rows at every step, each bound and critic.

``python notebooks/staircase.py`` trains the cells that ``staircase.json`` beside it has not yet, and writes the table
``staircase.md`` and the picture ``staircase.png``. There are 150 cells of some 15 to 40 seconds of one core each;
``--minutes 5`` starts none after that long, and the next call goes on where it stopped.
"""

import argparse
import json
import os
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from time import perf_counter, process_time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import miest
from miest.tasks.gaussian import gaussian_with_information

HERE = Path(__file__).resolve().parent
STEPS = (2.0, 4.0, 6.0, 8.0, 10.0)
BATCHES = {64: 1000, 512: 400}  # and how many steps of training
BOUNDS = ("MINE", "NWJ", "InfoNCE", "SMILE", "Discriminator")
CRITICS = ("joint", "separable", "anchored")
NEAR = 0.02  # of the truth

# Joint critic, d = 10, batch 64, a mean over batches of training rows; bits, truth 2 4 6 8 10.
PUBLISHED = {
    "NWJ": (1.93, 3.86, 5.75, 7.64, 8.84),
    "MINE": (1.93, 3.88, 5.82, 7.83, 10.00),
    "InfoNCE": (1.83, 3.42, 4.58, 5.31, 5.71),
    "SMILE": (1.91, 3.93, 6.06, 8.48, 11.10),
}


@dataclass(frozen=True)
class Cell:
    """One training."""

    bound: str
    critic: str
    batch: int
    mi: float

    @property
    def key(self) -> str:
        return f"{self.bound} {self.critic} {self.batch} {self.mi:g}"


def measured(cell: Cell) -> dict[str, object]:
    """Value on rows held out, its error and flags."""
    made = getattr(miest, cell.bound)(
        critic=cell.critic,
        hidden=(128, 128),
        scale="normal" if cell.critic == "anchored" else "none",
        steps=BATCHES[cell.batch],
        batch=cell.batch,
        check_every=100,
        folds=1,
    )
    started = process_time()
    result = made.estimate(gaussian_with_information(cell.mi, 20), seed=0)
    return asdict(cell) | {
        "value": result.value,
        "stderr": result.diagnostics.stderr,
        "flags": [flag.name for flag in result.flags],
        "anchor": result.diagnostics.anchors[0],
        "cpu_seconds": process_time() - started,
    }


def table(done: dict[str, dict[str, object]]) -> str:
    """Markdown: a line for each bound, critic and batch; bold within 2%, a star where the result is flagged."""
    lines = ["| bound | critic | batch | " + " | ".join(f"{mi:g} nats" for mi in STEPS) + " |", "|---" * 8 + "|"]
    for bound, critic, batch in product(BOUNDS, CRITICS, BATCHES):
        shown = []
        for mi in STEPS:
            cell = done.get(Cell(bound, critic, batch, mi).key)
            text = "" if cell is None else f"{cell['value']:.2f}"
            if cell is not None and abs(float(str(cell["value"])) - mi) <= NEAR * mi:
                text = f"**{text}**"
            shown.append(text + ("*" if cell is not None and cell["flags"] else ""))
        lines.append(f"| {bound} | {critic} | {batch} | " + " | ".join(shown) + " |")
    lines += ["", "Bold: within 2% of the truth. A star: flagged. Rows held out: 20,000; nats.", ""]
    lines += ["Published, joint critic, d = 10, batch 64, training rows; bits:", ""]
    lines += ["| bound | " + " | ".join(f"{mi:g} bits" for mi in STEPS) + " |", "|---" * 6 + "|"]
    lines += [f"| {bound} | " + " | ".join(f"{v:.2f}" for v in row) + " |" for bound, row in PUBLISHED.items()]
    return "\n".join(lines) + "\n"


def plot(done: dict[str, dict[str, object]], path: Path) -> None:
    """Write the picture: value against truth, one panel for each critic and batch; hollow marks are flagged."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(BATCHES), len(CRITICS), sharex=True, sharey=True)
    for (row, batch), (column, critic) in product(enumerate(BATCHES), enumerate(CRITICS)):
        axes = panels[row][column]
        axes.plot([0, 11], [0, 11], color="0.6", linewidth=1)
        for number, bound in enumerate(BOUNDS):
            cells = [c for mi in STEPS if (c := done.get(Cell(bound, critic, batch, mi).key)) is not None]
            axes.plot([c["mi"] for c in cells], [c["value"] for c in cells], color=f"C{number}", label=bound)
            for cell in cells:
                fill = "white" if cell["flags"] else f"C{number}"
                axes.plot(cell["mi"], cell["value"], "o", color=f"C{number}", markerfacecolor=fill)
        axes.set(title=f"{critic}, batch {batch}", xlim=(0, 11), ylim=(0, 12))
    figure.supxlabel("truth, nats")
    figure.supylabel("value on rows held out, nats; hollow: flagged")
    panels[0][0].legend(fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train what is missing and write what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--only", default="", help="cells whose key has this in it: 'anchored 512'")
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    store = asked.out / "staircase.json"
    done = json.loads(store.read_text()) if store.exists() else {}
    started = perf_counter()
    for cell in (Cell(*what) for what in product(BOUNDS, CRITICS, BATCHES, STEPS)):
        if cell.key in done or asked.only not in cell.key or perf_counter() - started > 60 * asked.minutes:
            continue
        done[cell.key] = measured(cell)
        store.write_text(json.dumps(done, indent=1) + "\n")
    (asked.out / "staircase.md").write_text(table(done))
    plot(done, asked.out / "staircase.png")


if __name__ == "__main__":
    main()
