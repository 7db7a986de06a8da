"""Training with a price on the information in the weights, as the experiments share it."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError("experiments train networks with torch: pip install 'miest[torch]'.") from error

from miest.bottleneck.weights import WeightBottleneck

Found = TypeVar("Found")


def train(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    beta: float,
    epochs: int,
    batch: int,
    learning_rate: float,
    noise_rate: float,
) -> nn.Module:
    """Train a model with noisy weights on CE + beta I(w;D), by Adam; random numbers are from torch's global stream.

    Parameters
    ----------
    model : torch module        with layers of noisy weights; is trained in place, and returned in eval mode
    x : (n, ...) tensor
    y : (n,) integer tensor
    beta : float                reached after half of the training: a network that pays from the start never learns
                                anything to pay for
    epochs, batch : int
    learning_rate : float       falls to zero over the last 40%
    noise_rate : float          that of ln alpha, which has far to go, likewise
    """
    objective = WeightBottleneck(model, beta=0.0, n=len(x))
    noise = [value for name, value in model.named_parameters() if name.endswith("log_alpha")]
    others = [value for name, value in model.named_parameters() if not name.endswith("log_alpha")]
    optimizer = torch.optim.Adam(
        [{"params": others, "lr": learning_rate}, {"params": noise, "lr": noise_rate}], foreach=True
    )
    total = epochs * math.ceil(len(x) / batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (total - step) / (0.4 * total)))
    step = 0
    model.train()
    for _ in range(epochs):
        order: Any = torch.randperm(len(x), device=x.device)
        for rows in order.split(batch):
            objective.beta = beta * min(1.0, 2 * step / total)
            loss = objective(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
            schedule.step()
            step += 1
    return model.eval()


def once(path: Path, kind: type[Found], function: Callable[..., Found], *arguments: Any) -> Found:
    """The result of a call, from a file if an earlier run left it there for the same arguments, else into it.

    Parameters
    ----------
    path : Path             JSON; what is there for other arguments is replaced
    kind : dataclass        of the result, of plain numbers, strings, lists and dictionaries
    function : callable
    *arguments              numbers, strings and dataclasses of those
    """
    plain = [asdict(each) if is_dataclass(each) and not isinstance(each, type) else each for each in arguments]
    asked = json.loads(json.dumps(plain))  # as it comes out of a file: lists for tuples
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["asked"] == asked:
            return kind(**kept["found"])
    found = function(*arguments)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"asked": asked, "found": asdict(found)}, indent=1) + "\n")  # type: ignore[call-overload]
    return found
