"""A note on the first compilation: kernels are compiled once on a machine, which takes some seconds, and kept on disk.

Imported for its effect by the modules that everything compiled rests on: numba tells of compilations through listeners
of the process, and each of ours may be the first. The note goes to the logger "miest", which Python prints on stderr
unless the program has set it up otherwise.
"""

import logging
import multiprocessing

from numba.core.event import Event, Listener, register


class _Note(Listener):
    """Says so when a kernel of this package is compiled, once in a process; loading from disk is no compilation."""

    said = False

    def on_start(self, event: Event) -> None:
        module = getattr(getattr(event.data.get("dispatcher"), "py_func", None), "__module__", None) or ""  # of anyone
        if self.said or not module.startswith("miest_kernels") or multiprocessing.parent_process() is not None:
            return
        self.said = True
        logging.getLogger("miest").warning(
            "miest compiles its kernels for this processor, some seconds each. They stay on disk: next time is quick."
        )

    def on_end(self, event: Event) -> None:
        pass


register("numba:compile", _Note())
