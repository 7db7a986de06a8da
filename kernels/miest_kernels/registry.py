"""Backends by name. A named backend that cannot run raises; only "auto" chooses, and says what it chose."""

from collections.abc import Callable

from miest_kernels.contract import Neighbours


def _reference() -> Neighbours:
    from miest_kernels.reference import Reference

    return Reference()


def _kdtree() -> Neighbours:
    from miest_kernels.kdtree import KDTree

    return KDTree()


def _cpu() -> Neighbours:
    from miest_kernels.cpu_brute import Brute

    return Brute()


def _tree() -> Neighbours:
    from miest_kernels.cpu_tree import Tree

    return Tree()


BACKENDS: dict[str, Callable[[], Neighbours]] = {"cpu": _cpu, "kdtree": _kdtree, "reference": _reference, "tree": _tree}


def neighbours(name: str = "auto", *, n: int = 0, d: int = 0) -> Neighbours:
    """Backend by name; "auto" chooses for n rows of d joint dimensions.

    Raises
    ------
    ValueError
        if there is no backend of that name
    ImportError
        if the named backend cannot run here; the message says what it needs
    """
    if name == "auto":
        name = _choice(n, d)
    if name not in BACKENDS:
        raise ValueError(f"neighbours={name!r} is not one of {', '.join(map(repr, ['auto', *BACKENDS]))}.")
    return BACKENDS[name]()


def unavailable(name: str) -> str | None:
    """Why the named backend cannot run here, or None where it can."""
    try:
        neighbours(name)
    except ImportError as error:
        return str(error)
    return None


def _choice(n: int, d: int) -> str:
    # Joint dimensions at which tree and brute force took equal time, single-threaded, on Gaussian data.
    crossing = 10 if n <= 2_000 else 12 if n <= 6_000 else 15 if n <= 20_000 else 18
    return "tree" if d <= crossing else "cpu"
