"""The command that rehearses studies in small."""

from __future__ import annotations

import os
from pathlib import Path

import click

from withstand.cli_planning import FILE


@click.command()
@click.argument("configs", type=FILE, nargs=-1)
@click.option("--cores", type=click.IntRange(min=1), default=os.cpu_count(), show_default=True, help="Cores to use.")
@click.option("--full-size", is_flag=True, help="Rehearse networks as they are, also where a CPU takes long.")
@click.option("--delete", "deleted", metavar="STUDY", help="Delete the rehearsal of a study, and do nothing else.")
def rehearse(configs: tuple[Path, ...], cores: int, full_size: bool, deleted: str | None) -> None:
    """Run studies in small before they run in full: every rule once, to the report, without a network.

    CONFIGS are configs of studies, config.yaml by default. Images and weights that are not at hand are made up, and
    large networks are replaced by smaller ones of their class where there is no GPU. What several studies have in
    common is rehearsed in the first one. All of it lies in results/.rehearsal, which nothing else reads.
    """
    from withstand.errors import WithstandError
    from withstand.rehearsal import report, run

    if deleted is not None:
        click.echo(f"deleted {run.delete(deleted)}")
        return
    outcomes, covered = [], set()
    for config in configs or (Path("config.yaml"),):
        outcomes.append(run.rehearse(config, cores, covered, full_size=full_size))
        click.echo(report.told(outcomes[-1]))
    click.echo(report.promises())
    failed = [outcome.study for outcome in outcomes if outcome.failed]
    if failed:
        raise WithstandError(f"these studies would not have ended well: {', '.join(failed)}")


COMMANDS = (rehearse,)
"""What the command ``withstand`` takes over."""
