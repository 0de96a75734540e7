"""Files that are written whole or not at all, several that belong together as one."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

_ADVICE = {
    errno.ENOSPC: "the disk is full: make room there, or choose another folder",
    errno.EDQUOT: "your quota of the disk is used up: make room there, or choose another folder",
    errno.EFBIG: "the file would be larger than this process or this disk allows",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.EACCES: "the folder may not be written to: change its permissions, or choose another one",
    errno.EPERM: "the folder may not be written to: change its permissions, or choose another one",
    errno.ENOENT: "the folder does not exist: make it first",
    errno.ENOTDIR: "the folder is a file: choose another one",
}


class NotWrittenError(OSError):
    """A file could not be written. What was there before is still there, whole."""

    def __init__(self, error: OSError, path: Path) -> None:
        reason = os.strerror(error.errno) if error.errno else str(error)
        advice = _ADVICE.get(error.errno or 0, "see whether the folder can be written to")
        super().__init__(error.errno, f"not written ({reason}); {advice}. What was there before is unchanged", str(path))


def write(files: Mapping[Path, bytes]) -> None:
    """Write files that belong together: none is replaced before all of them are on the disk.

    Raises:
        NotWrittenError: an ``OSError``; the old files are as they were, and no temporary file is left.
    """
    with contextlib.ExitStack() as unneeded:
        ready = {path: _beside(path, content, unneeded) for path, content in files.items()}
        for path, temporary in ready.items():
            with _told(path):
                temporary.replace(path)
    for folder in {path.parent for path in files}:
        _sync(folder)


def _beside(path: Path, content: bytes, unneeded: contextlib.ExitStack) -> Path:
    """The content in a file of the same folder, on the disk; it goes with ``unneeded`` unless it was renamed."""
    with _told(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        unneeded.callback(_removed, temporary)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
    return temporary


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotWrittenError(error, path) from error


def _removed(temporary: Path) -> None:
    with contextlib.suppress(OSError):  # the first error is the one to tell
        temporary.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Let the new names reach the disk, too, where the system can be asked to."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
