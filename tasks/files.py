"""Files are written whole or not at all: under a temporary name beside the target, then renamed."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tasks.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def whole_directory(target: Path, marker: str) -> Iterator[Path]:
    """Yield a fresh directory that takes the place of `target` when the block ends without an error.

    An existing `target` is replaced only if it is empty or holds the file `marker`, which shows that it is one of
    ours. Raises `InputError`, before the block runs, where the target may not be replaced or cannot be written; and
    where the disk is full by then, when what stood there before still stands.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100  (a link itself is the target, not what it points to)
    with _writing(target):
        replaceable = not os.path.lexists(target) or _ours(target, marker)
        if not replaceable:
            raise InputError(f"{target} exists and holds no {marker}, so it is left alone; name another directory")
        made = [parent for parent in target.parents if not parent.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name[:50]}-", dir=target.parent))
        scratch.chmod(0o777 & ~_umask())
    try:
        with _writing(target, only_full=True):
            yield scratch
        with _writing(target):
            _replace_directory(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for parent in made:  # innermost first; one that holds something by now stays
            with contextlib.suppress(OSError):
                parent.rmdir()


def _ours(target: Path, marker: str) -> bool:
    if target.is_symlink() or os.path.ismount(target):
        raise InputError(f"{target} is a link or a mount point, which cannot be replaced; name a directory below it")
    return (target / marker).is_file() or (target.is_dir() and not any(target.iterdir()))


@contextlib.contextmanager
def _writing(path: Path, only_full: bool = False) -> Iterator[None]:
    """Tell in one line why `path` cannot be written; with `only_full`, other errors than a full disk pass through."""
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        if only_full and not full:
            raise
        reason = os.strerror(error.errno) if error.errno else str(error)
        what_to_do = "free some space, then run the same command again" if full else "name another place"
        raise InputError(f"{path} cannot be written: {reason}; {what_to_do}") from None


def _replace_directory(scratch: Path, target: Path) -> None:
    if not target.exists():
        scratch.rename(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name[:50]}-old-", dir=target.parent))
    target.rename(aside / "it")
    try:
        scratch.rename(target)
    except OSError:
        (aside / "it").rename(target)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_whole(path: Path, data: bytes | str) -> None:
    """Write one file whole; raises `InputError` where it cannot be written."""
    raw = data.encode() if isinstance(data, str) else data
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:50]}-", dir=path.parent)
        scratch = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
            scratch.chmod(0o666 & ~_umask())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(directory: Path, busy: str) -> Iterator[None]:
    """Hold the `.lock` of a directory, which is made where it is not there, until the block ends.

    Raises `InputError`: with the text `busy` where another process holds it, or where the directory cannot be written.
    """
    with _writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / ".lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(busy) from None
        yield


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
