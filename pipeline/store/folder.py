"""The run folder: made private, found again, put aside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import RunError, RunNotFound
from pipeline.store.durable import replace, sync_folder
from pipeline.store.wal import has_commit
from pipeline.values.folder import (
    BLACKBOX,
    CONTROL,
    IMAGES,
    IMAGES_ARROW,
    LOCK,
    LOG,
    METRICS,
    PARTS,
    QUARANTINE,
    REPORT,
    SPEC,
    STORE,
)

#: Where SQLite's header keeps the application's id, and the size of a file that never got further than its header.
_ID_AT, _UNBORN_MAX = slice(68, 72), 4096


def has_store(folder: Path) -> bool:
    """Whether a store was ever made in a folder: a full disk, a kill or a power cut may leave a file without tables."""
    path = folder / STORE
    if not path.is_file():
        return False
    wal = path.with_name(path.name + "-wal")
    if path.stat().st_size > _UNBORN_MAX:
        return True
    if wal.is_file() and wal.stat().st_size:
        # Its tables are in the log, unless the power went while the log's first transaction was being written.
        return has_commit(wal)
    with path.open("rb") as file:
        header = file.read(100)
    # A first page that the power cut tore: its rollback journal lies beside it, and opening it for writing empties it.
    if not header.strip(b"\0"):
        return False
    return not header.startswith(b"SQLite format 3\0") or header[_ID_AT] != bytes(4)


def traces(folder: Path) -> list[str]:
    """What in a folder shows that a run was here, apart from its store."""
    found = [name for name in (IMAGES_ARROW, LOG) if (folder / name).is_file()]
    images = folder / IMAGES
    return [*found, *([IMAGES] if images.is_dir() and any(images.iterdir()) else [])]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder and where its parts stand."""

    path: Path

    @staticmethod
    def create(path: Path) -> RunFolder:
        """Make the folder (mode 0700 whatever the umask), or take the one that is there. Parents get the usual mode."""
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.mkdir(mode=0o700, exist_ok=True)
            except FileExistsError as exc:
                raise RunError(f"a file stands where the run folder should be; move it away: {path}") from exc
            sync_folder(path.parent)
        path.chmod(0o700)
        return RunFolder(path)

    @staticmethod
    def find(path: Path) -> RunFolder:
        """The folder of a run that was started. *Raises* RunNotFound."""
        if not (path / STORE).is_file():
            raise RunNotFound(f"no run in this folder (it has no {STORE}): {path}")
        return RunFolder(path)

    def set_aside(self) -> Path:
        """Rename the folder to the first free `NAME.1`, `NAME.2` ... and tell the new path."""
        count = 1
        while (aside := self.path.with_name(f"{self.path.name}.{count}")).exists() or aside.is_symlink():
            count += 1
        self.path.rename(aside)
        sync_folder(self.path.parent)
        return aside

    def write_spec(self, text: str) -> bool:
        """Keep the spec as run, 0600; False when it stands there already."""
        return replace(self.spec, text.encode())

    @property
    def spec(self) -> Path:
        """The spec as run."""
        return self.path / SPEC

    @property
    def store(self) -> Path:
        """The SQLite file."""
        return self.path / STORE

    @property
    def story(self) -> Path:
        """One line per fact."""
        return self.path / LOG

    @property
    def metrics(self) -> Path:
        """How it stands, for a collector."""
        return self.path / METRICS

    @property
    def control(self) -> Path:
        """The socket of a live run."""
        return self.path / CONTROL

    @property
    def lock(self) -> Path:
        """Held for life by the run's process."""
        return self.path / LOCK

    @property
    def black_box(self) -> Path:
        """Answers as received."""
        return self.path / BLACKBOX

    @property
    def images(self) -> Path:
        """Pictures under their final names, and nothing else."""
        return self.path / IMAGES

    @property
    def parts(self) -> Path:
        """Pictures on their way in."""
        return self.path / PARTS

    @property
    def quarantine(self) -> Path:
        """Files that no row of the store names."""
        return self.path / QUARANTINE

    @property
    def report(self) -> Path:
        """The gallery, when asked for."""
        return self.path / REPORT
