"""What a process that is ours alone spares itself while it imports and ends; a library must not.

Most of the time of a short `automigrate upgrade` goes into importing SQLAlchemy and Alembic, and
into taking them apart again.
"""

from __future__ import annotations

import atexit
import gc
import sys

__all__ = ["spare"]

RARELY = (50_000, 20, 50)
"""When cyclic garbage is collected: imports make objects that stay, and looking at them again and
again takes a fifth of the time of the imports."""
TIMES = 4
"""How often what is there is taken for imported, and for staying, instead of being looked at: two
times cover SQLAlchemy and Alembic, the others an application that `env.py` imports."""
HIGHLIGHTING = "mako.ext.pygmentplugin"


class Keeper:
    """Keeps what is there out of the first collections; at most 200,000 objects in all."""

    def __init__(self, times: int) -> None:
        self._left = times

    def __call__(self, phase: str, _: object) -> None:
        """Come before and after each collection, as one of `gc.callbacks`."""
        if phase == "start" and self._left:
            self._left -= 1
            gc.freeze()


class WithoutHighlighting:
    """Tells mako, which Alembic imports, that it cannot colour HTML pages of errors.

    Importing pygments for it takes a tenth of the time of Alembic's import, and Alembic renders no
    HTML. Only mako's own attempt is refused: who asks for the plugin later gets it.
    """

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        """Find nothing, as a finder of `sys.meta_path`.

        Raises:
            ModuleNotFoundError: mako, while it is being imported, asks for its plugin.
        """
        if name == HIGHLIGHTING:
            spec = getattr(sys.modules.get("mako.exceptions"), "__spec__", None)
            if getattr(spec, "_initializing", False):
                raise ModuleNotFoundError(f"{name} is not wanted", name=name)


def spare() -> None:
    """Set it up for this process."""
    gc.set_threshold(*RARELY)
    gc.callbacks.append(Keeper(TIMES))
    # Before it ends, the interpreter searches all that was imported for cycles, which takes a
    # quarter of the time of the imports; the kernel frees it anyway. Registered first, so called
    # last: what others have registered still finds everything as usual.
    atexit.register(gc.freeze)
    sys.meta_path.insert(0, WithoutHighlighting)
