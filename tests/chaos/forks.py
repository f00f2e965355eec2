"""Work done in forks of a process that has imported everything: a command line in a tenth of a second, not in one.

The process that forks starts no threads and no loops of its own, or a fork would inherit their locks.
"""

from __future__ import annotations

import os
import pickle
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from tests.chaos import child
from tests.chaos.child import Place

_T = TypeVar("_T")

#: Nothing that a campaign starts may take longer (seconds).
PATIENCE_S: Final = 120.0
_MEMORY: Final = Path("/dev/shm")
#: Several lanes with their ballast and pictures, and folders that are kept. *Units* - bytes.
_ROOM: Final = 2 * 1024**3


class Stuck(Exception):  # noqa: N818 - a finding, not a fault of the caller
    """Something did not end in time, or broke; its words say what."""


def scratch(prefix: str) -> Path:
    """A new folder: in memory where there is room, since kills test no disk (`powerloss` does); else in TMPDIR."""
    roomy = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM
    kept = None if "TMPDIR" in os.environ or not roomy else _MEMORY
    return Path(tempfile.mkdtemp(prefix=f"chaos-{prefix}-", dir=kept))


def preload() -> None:
    """Import what commands import late, once."""
    import aiohttp  # noqa: F401
    import pyarrow.feather
    import pyarrow.parquet  # noqa: F401
    from PIL import Image

    import pipeline.api
    import pipeline.cli.folders
    import pipeline.cli.run
    import pipeline.cli.simulate
    import pipeline.cli.statement
    import pipeline.runtime.inspect
    import pipeline.runtime.run
    import pipeline.runtime.serve  # noqa: F401

    Image.init()


def inside(work: Callable[[], _T], *, patience_s: float = PATIENCE_S) -> _T:
    """Do something in a fork and bring its value back. *Raises* Stuck."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            answer = pickle.dumps((True, work()))
        except BaseException:  # noqa: BLE001 - it crosses to the parent as words
            answer = pickle.dumps((False, traceback.format_exc()))
        with os.fdopen(writer, "wb") as file:
            file.write(answer)
        os._exit(0)
    os.close(writer)
    data = b""
    deadline = time.monotonic() + patience_s
    with os.fdopen(reader, "rb", buffering=0) as file:
        while True:
            if not select.select([file], [], [], max(0.0, deadline - time.monotonic()))[0]:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise Stuck(f"no answer within {patience_s:g} s")
            got = file.read(1 << 16)
            if not got:
                break
            data += got
    os.waitpid(pid, 0)
    if not data:
        raise Stuck("it died without an answer")
    good, value = pickle.loads(data)  # noqa: S301 - our own child's
    if not good:
        raise Stuck(value)
    return value  # type: ignore[no-any-return]  # what `work` gave


def start(
    arguments: list[str],
    *,
    folder: Path,
    out: Path,
    environment: Mapping[str, str] | None = None,
    die: Place | None = None,
    drain: Place | None = None,
    counts: Path | None = None,
    parts: bool = False,
) -> int:
    """Fork a command line with a folder, an environment and a file for its words; answers its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.chdir(folder)
        os.environ.update(environment or {})
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        silence = os.open(os.devnull, os.O_RDONLY)
        os.dup2(silence, 0)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = child.run(arguments, die=die, drain=drain, counts=counts, parts=parts)
    except BaseException:  # noqa: BLE001 - the parent reads the words
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(pid: int, *, patience_s: float = PATIENCE_S) -> int:
    """Wait for a child: its exit code, negative for the signal that ended it. *Raises* Stuck, having killed it."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.003)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise Stuck(f"a command did not end within {patience_s:g} s")


def command(arguments: list[str], *, folder: Path, out: Path, patience_s: float = PATIENCE_S, **more: object) -> int:
    """`start` and `ended` in one."""
    return ended(start(arguments, folder=folder, out=out, **more), patience_s=patience_s)  # type: ignore[arg-type]
