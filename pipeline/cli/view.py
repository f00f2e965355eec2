"""`view`: the page of a run in a browser on this machine, live while the run is."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

import click

from pipeline.cli import place
from pipeline.cli.exits import Exit
from pipeline.cli.options import run_argument
from pipeline.cli.output import answer, say


@click.command()
@run_argument
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Of this machine; 0 takes any free."
)
@click.option("--no-open", is_flag=True, help="Only say the address; open no browser.")
def view(run: str, *, port: int, no_open: bool) -> Exit:
    """Serve the gallery of RUN on 127.0.0.1 until Ctrl-C; live while it runs, with pause, drain and budget."""
    import asyncio

    from pipeline.cli.run import command
    from pipeline.runtime import inspect

    folder = place.folder_of(run)
    origin = inspect.origin(folder)
    asyncio.run(_serve(folder, port, command(origin.spec, origin.options, anywhere=True), opens=not no_open))
    return Exit.COMPLETE


async def _serve(folder: Path, port: int, resume: str, *, opens: bool) -> None:
    import asyncio

    from pipeline.runtime.view import serving

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopped.set)
    async with serving(folder, port=port, resume=resume) as address:
        answer(address)
        say("only this address, with its token, shows the run; Ctrl-C ends the view, and never the run")
        door = await asyncio.to_thread(_open, address) if opens else None
        try:
            await stopped.wait()
        finally:
            if door is not None:
                shutil.rmtree(door, ignore_errors=True)


def _open(address: str) -> Path | None:
    """Open a browser by a private file that leads to the address: its token must not stand in a list of processes."""
    import webbrowser

    door = Path(tempfile.mkdtemp(prefix="pipeline-view-"))
    page = door / "open.html"
    handle = os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={address}">')
    try:
        opened = webbrowser.open(page.as_uri())
    except webbrowser.Error:
        opened = False
    if not opened:
        shutil.rmtree(door, ignore_errors=True)
        say("no browser could be opened: open the address above in one")
        return None
    return door
