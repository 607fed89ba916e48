"""Files that are written whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tilewright.errors import ToolError


def write_file(path: Path, text: str) -> None:
    """Write ``text`` to ``path``: afterwards the file is the old one or the new one, never a part."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ToolError(f"{path}: cannot write: {error.strerror or error}") from None


@contextmanager
def replaced_folder(folder: Path, *, keep: tuple[str, ...] = ()) -> Iterator[Path]:
    """A new folder to fill, which takes the place of ``folder`` when the block ends well.

    Entries of the old folder named in ``keep`` move into the new one. When the block raises, or the process
    is killed, the old folder is as it was; what a killed process left is cleared by the next one.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(f".{folder.name}.new-*"):
            if not _alive(left):
                shutil.rmtree(left, ignore_errors=True)
        _recover(folder)
        fresh = folder.parent / f".{folder.name}.new-{os.getpid()}"
        fresh.mkdir()
    except OSError as error:
        raise ToolError(f"{folder}: cannot write: {error.strerror or error}") from None
    try:
        yield fresh
        for name in keep:
            if (folder / name).exists() and not (fresh / name).exists():
                shutil.copytree(folder / name, fresh / name, symlinks=True)
        _swap(fresh, folder)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise ToolError(f"{folder}: cannot write: {error.strerror or error}") from None
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _old(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.old"


def _recover(folder: Path) -> None:
    """Undo a swap that was cut short between its two renames."""
    old = _old(folder)
    if old.exists():
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)


def _swap(fresh: Path, folder: Path) -> None:
    old = _old(folder)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _alive(left: Path) -> bool:
    try:
        os.kill(int(left.name.rpartition("-")[2]), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
