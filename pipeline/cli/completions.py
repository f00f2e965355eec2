"""`pipeline completions`: the script that teaches a shell our commands, options, runs and models."""

from __future__ import annotations

import click

from pipeline.cli.exits import Exit
from pipeline.cli.output import answer

#: {shell: how to switch it on}
HOW = {
    "bash": 'pipeline completions bash > ~/.pipeline-complete.bash && echo ". ~/.pipeline-complete.bash" >> ~/.bashrc',
    "zsh": 'pipeline completions zsh > ~/.pipeline-complete.zsh && echo ". ~/.pipeline-complete.zsh" >> ~/.zshrc',
    "fish": "pipeline completions fish > ~/.config/fish/completions/pipeline.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(tuple(HOW)))
def completions(shell: str) -> Exit:
    """Print what makes SHELL complete commands, options, runs and models."""
    from click.shell_completion import get_completion_class

    from pipeline.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click has no completion for {shell}")
    # bash's own `source()` asks the installed bash for its version, which only matters where it is used.
    made = kind(cli, {}, "pipeline", "_PIPELINE_COMPLETE")
    script = made.source_template % made.source_vars()
    answer(f"# To switch it on:  {HOW[shell]}\n{script.strip()}")
    return Exit.COMPLETE
