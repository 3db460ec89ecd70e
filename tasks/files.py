"""Files are written whole or not at all: under a temporary name beside the target, then renamed."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tasks.errors import InputError


@contextlib.contextmanager
def whole_directory(target: Path, marker: str) -> Iterator[Path]:
    """Yield a fresh directory that takes the place of `target` when the block ends without an error.

    An existing `target` is replaced only if it is empty or holds the file `marker`, which shows that it is one of
    ours. Raises `InputError`, before the block runs, where the target may not be replaced or cannot be written.
    """
    target = target.absolute()
    if target.exists() and not (target / marker).is_file() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"{target} exists and holds no {marker}, so it is left alone; name another directory")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        scratch.chmod(0o777 & ~_umask())
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror}; name another directory") from None
    try:
        yield scratch
        _replace_directory(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _replace_directory(scratch: Path, target: Path) -> None:
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
        target.rename(old / "it")
        scratch.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        scratch.rename(target)


def write_whole(path: Path, data: bytes | str) -> None:
    """Write one file whole; raises `InputError` where it cannot be written."""
    raw = data.encode() if isinstance(data, str) else data
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
        Path(scratch).chmod(0o666 & ~_umask())
        Path(scratch).replace(path)
    finally:
        Path(scratch).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
