"""Claims on folders: while somebody in this process works in one, no other process may.

The operating system takes a claim back when its process ends, however that comes about.
"""

from pathlib import Path
from weakref import WeakValueDictionary

from filelock import FileLock, Timeout

from tenfold.core.errors import UserError

CLAIM = ".working"
_claims: WeakValueDictionary[Path, FileLock] = WeakValueDictionary()
"""Those of this process, which may claim a folder again."""


def claim(folder: Path) -> FileLock:
    """The claim, which lasts as long as somebody holds the object.

    Raises:
        UserError: another process is at work there.
    """
    place = folder.resolve()
    lock = _claims.get(place)
    if lock is None:
        lock = FileLock(place / CLAIM, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"another process is at work in {folder}; wait for it or end it, then try again") from None
        _claims[place] = lock
    return lock
