"""Compiled things, kept by content: the same sources, flags and tools are compiled once."""

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path


def content_key(parts: Iterable[str | bytes | Path]) -> str:
    """Digest of an ordered list of texts and file contents."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            data = part.read_bytes()
        else:
            data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


def cached(root: Path, key: str, build: Callable[[Path], None]) -> Path:
    """Folder ``root/key``, filled by ``build(folder)`` unless it is there already.

    Builds in a folder beside it and renames: a killed build leaves nothing that looks finished, and its
    rest is removed by the next one. A second process that wants the same key waits for the first.
    What ``build`` raises is passed on, and nothing is kept.
    """
    final = root / key
    if final.is_dir():
        return final
    root.mkdir(parents=True, exist_ok=True)
    with (root / f".{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if final.is_dir():
            return final
        for rest in root.glob(f".{key}-*"):
            shutil.rmtree(rest, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=root, prefix=f".{key}-"))
        try:
            build(folder)
            folder.replace(final)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return final
