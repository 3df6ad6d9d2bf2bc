"""Which files of a data directory go into a backup."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from supervisor.backup.manifest import member_name
from supervisor.settings import SupervisorSettings


def plain_files(folder: Path, *, deep: bool = False) -> Iterator[tuple[str, Path]]:
    """Yields the plain files of a folder, and `deep` those below it, by their path in it, in order.

    What the storage is just writing, hidden files and links are left out: none of them is anybody's data.
    """
    if not folder.is_dir():
        return
    for where, folders, files in os.walk(folder):
        folders.sort()
        if not deep:
            folders.clear()
        for name in sorted(files):
            path = Path(where) / name
            relative = path.relative_to(folder).as_posix()
            if path.is_file() and not path.is_symlink() and _is_ours(relative):
                yield relative, path


def _is_ours(relative: str) -> bool:
    try:
        member_name(f"objects/{relative}")
    except ValueError:
        return False
    return True


def local_objects(settings: SupervisorSettings) -> Path | None:
    """Return the folder of stored objects in the data directory, None when they are kept elsewhere."""
    inside = settings.data.root / "objects"
    url = settings.inherited.get("CANDELA_OBJECTS_URL", "")
    if not url:
        return inside
    parts = urlsplit(url)
    if parts.scheme not in ("", "file"):
        return None
    named = Path(unquote(parts.path) if parts.scheme else url).absolute()
    return inside if named == inside else None
