"""`pipeline simulate`: the gateways' emulators over HTTP, in real time."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.exits import Exit
from pipeline.cli.options import check_faults


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8399, show_default=True, help="0 takes any free port.")
@click.option(
    "--faults",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="What shall go wrong.",
)
@click.option(
    "--world",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep what was accepted and billed here, across restarts.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="The seed of what happens.")
def simulate(port: int, faults: Path | None, world: Path | None, seed: int) -> Exit:
    """Serve the emulators on 127.0.0.1 until Ctrl-C. Only lines to paste go to stdout; GET /__bill is their book."""
    from pipeline.cli.output import answer, say
    from pipeline.runtime import serve

    check_faults(faults)

    def ready(bound: int) -> None:
        answer("\n".join(exports(bound)))
        say(f"serving on 127.0.0.1:{bound}, bill at http://127.0.0.1:{bound}/__bill; Ctrl-C ends it")

    serve.serve_forever(port=port, faults=faults, world=world, seed=seed, ready=ready)
    return Exit.COMPLETE


def exports(port: int) -> list[str]:
    """What to paste into the shell that the pipeline runs in: each emulated gateway's addresses and a key."""
    from pipeline.runtime import serve

    return [f"export {name}={value}" for name, value in serve.environment(port).items()]
