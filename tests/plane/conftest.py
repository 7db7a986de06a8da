"""What several tests of the plane need: a small network, its probe set, and the rows of a run without a network."""

import numpy as np
import pytest

from miest.plane.row import Row


@pytest.fixture
def network():
    """Makes the same small network at every call."""
    torch = pytest.importorskip("torch")

    def make(seed: int = 0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return torch.nn.Sequential(
                torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3)
            )

    return make


@pytest.fixture
def probe():
    """Inputs and labels that the inputs tell something of."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    x = rng.standard_normal((90, 6)).astype(np.float32) + 2 * np.eye(3, 6, dtype=np.float32)[y]
    return x, y


@pytest.fixture
def trained(probe):
    """Trains a network with a plane, or without, and gives what must not depend on that."""
    torch = pytest.importorskip("torch")
    x, y = torch.from_numpy(probe[0]), torch.from_numpy(probe[1])

    def train(model, plane=None, steps: int = 12, *, first: int = 1):
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002 - the global stream must not move either
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        if plane is not None and first == 1:
            plane.log(0)
        for step in range(first, steps + 1):
            rows = torch.randint(0, len(x), (16,))
            loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if plane is not None:
                plane.log(step, loss=loss.item())
        weights = [value.detach().clone() for value in model.state_dict().values()]
        return [*weights, torch.get_rng_state(), torch.from_numpy(np.random.get_state()[1].astype(np.int64))]  # noqa: NPY002

    return train


@pytest.fixture
def row():
    """Makes rows with most fields filled in."""

    def make(step: int = 0, layer: str = "fc1", quantity: str = "I_XT", value: float = 1.0, **changed) -> Row:
        plain = {"estimator": "KDE(noise_var=0.1, bound='both')", "name": "I(X;T+eps)", "n": 90, "seconds": 0.25}
        return Row(step=step, layer=layer, quantity=quantity, value=value, **{**plain, **changed})

    return make
