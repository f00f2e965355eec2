"""Our command, started once: each call is a fork of a process that has loaded the program already.

Pages type it some thirty times, and starting Python costs more than most of what they do. Only the start is shared:
every call has its own process, arguments, directory, environment, output and exit code. That a cold start works is what
`test_wheel.py` and `tests/cli/test_on_a_terminal.py` prove.
"""

from __future__ import annotations

import array
import importlib
import json
import os
import pkgutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_REQUEST_MAX: Final = 1 << 20
#: How long it may outlive whoever started it (seconds).
_ALONE_S: Final = 5.0
#: What a shell finds as `pipeline`: hands its arguments and its output to the process that is warm.
_CALL: Final = """\
#!{python} -ISE
import array, json, os, socket, sys
place = socket.socket(socket.AF_UNIX)
place.connect({address!r})
told = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
place.sendmsg([told], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [1, 2]))])
place.shutdown(socket.SHUT_WR)
sys.exit(int(place.recv(16) or b"70"))
"""
#: Loaded before the first call, with all that they load.
_ROOMS: Final = ("pipeline.cli", "pipeline.runtime", "pipeline.report", "pipeline.export", "pipeline.manifest")


@contextmanager
def warm(folder: Path) -> Iterator[Path]:
    """A directory with the command `pipeline`, as long as the block runs."""
    address, command = folder / "warm", folder / "pipeline"
    command.write_text(_CALL.format(python=sys.executable, address=str(address)), encoding="utf-8")
    command.chmod(0o755)
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
    listening = [sys.executable, "-m", "tests.habits.warm", str(address)]
    with subprocess.Popen(listening, env=variables, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"warm\n"
            yield folder
        finally:
            server.terminate()


def _serve(address: str) -> None:
    for room in _ROOMS:
        package = importlib.import_module(room)
        for found in pkgutil.iter_modules(package.__path__, f"{room}."):
            importlib.import_module(found.name)
    with socket.socket(socket.AF_UNIX) as place:
        place.bind(address)
        place.listen()
        place.settimeout(_ALONE_S)
        print("warm", flush=True)
        parent = os.getppid()
        while os.getppid() == parent:
            try:
                call, _ = place.accept()
            except TimeoutError:
                continue
            with call:
                call.settimeout(None)
                _answer(call, place)


def _answer(call: socket.socket, place: socket.socket) -> None:
    told, handles = b"", array.array("i")
    while piece := call.recvmsg(_REQUEST_MAX, socket.CMSG_SPACE(2 * handles.itemsize)):
        for _, kind, data in piece[1]:
            if kind == socket.SCM_RIGHTS:
                handles.frombytes(data)
        if not piece[0]:
            break
        told += piece[0]
    child = os.fork()
    if not child:
        place.close()
        arguments, folder, variables = json.loads(told)
        _become(arguments, folder, variables, handles)
    for handle in handles:
        os.close(handle)
    _, status = os.waitpid(child, 0)
    call.sendall(b"%d" % os.waitstatus_to_exitcode(status))


def _become(arguments: list[str], folder: str, variables: dict[str, str], handles: array.array[int]) -> None:
    """In a process of its own: this one call, to its end."""
    for to, handle in zip((1, 2), handles, strict=True):
        os.dup2(handle, to)
        os.close(handle)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["pipeline", *arguments]
    from pipeline.cli.main import main

    main()


if __name__ == "__main__":
    _serve(sys.argv[1])
