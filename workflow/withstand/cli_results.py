"""Commands for people who have results: ask, compare, export, and clear away."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from withstand.cli_errors import Step

FOLDER = click.Path(file_okay=False, path_type=Path)
DEMO = "results/demo"

results_option = click.option(
    "--results", type=FOLDER, default=DEMO, show_default=True, help="Folder of a study's results."
)


@click.command(cls=Step)
@click.argument("one")
@click.argument("other")
@results_option
@click.option("--all", "everything", is_flag=True, help="Show also what does not differ.")
@click.option("--format", "kind", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def compare(one: str, other: str, results: Path, everything: bool, kind: str) -> None:
    """Say in what two models of a study, or two studies, differ beyond chance.

    ONE and OTHER are models of the study in --results, or two folders of results, whose models are compared with
    themselves. Answers to the same images are compared by paired tests; other values by their intervals. P-values are
    adjusted for all comparisons together.
    """
    from withstand.explore import compare as step
    from withstand.results import is_results, load

    folders = [is_results(Path(name)) for name in (one, other)]
    if any(folders) and not all(folders):
        load(other if folders[0] else one)  # says what is the matter with it
    if all(folders):
        found = step.compare_studies(load(one), load(other))
    else:
        found = step.compare_models(load(results), one, other)
    rows = found.rows if everything else found.differing
    if kind == "csv":
        click.echo(rows.to_csv(index=False), nl=False)
    elif kind == "json":
        click.echo(rows.to_json(orient="records", indent=1))
    else:
        click.echo(step.told(found, rows))


@click.command(cls=Step)
@click.argument("sql", required=False)
@click.option(
    "--results",
    type=FOLDER,
    multiple=True,
    default=[DEMO],
    show_default=True,
    help="Folder of a study's results; of several, there is a column 'study'.",
)
@click.option("--tables", is_flag=True, help="List tables and their columns.")
@click.option(
    "--format", "kind", type=click.Choice(["table", "csv", "json", "parquet"]), help="By default the output's suffix."
)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@click.pass_context
def query(context, sql: str | None, results: tuple[Path, ...], tables: bool, kind: str | None, output) -> None:
    """Ask in SQL, over all tables and predictions of a study, or of several.

    SQL is DuckDB's. Each table is one of that name; "predictions" holds every answer. It is read from standard input,
    if it is not given.

    \b
    withstand query "select model, value, low, high from shape_bias where metric = 'shape_bias'"
    """
    from withstand.explore.query import FORMATS, Database
    from withstand.results import load

    if sql is None and not tables:
        sql = None if sys.stdin.isatty() else sys.stdin.read().strip()
        if not sql:
            click.echo(context.get_help())
            return
    if kind is None:
        suffix = output.suffix.removeprefix(".") if output else "table"
        kind = suffix if suffix in FORMATS else "table"
    if output and kind == "table":
        raise click.UsageError(f"--output: give it a suffix, or --format: {', '.join(FORMATS)}")
    if kind == "parquet" and not output:
        raise click.UsageError("parquet goes into a file: give --output")
    with Database([load(folder) for folder in results], output) as database:
        if tables:
            for view in database.views():
                click.echo(f"{view}\n    {', '.join(database.columns(view))}")
        elif output:
            database.write(sql, kind, output)
        else:
            click.echo(database.text(sql, kind), nl=kind == "table")


@click.command(cls=Step)
@click.argument("tables", nargs=-1)
@results_option
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "latex", "markdown"]),
    default="csv",
    show_default=True,
    help="The tables as they are, or models against conditions, each value with its interval.",
)
@click.option("--output", "-o", required=True, type=FOLDER, help="Folder to write.")
def export(tables: tuple[str, ...], results: Path, kind: str, output: Path) -> None:
    """Write tables of a study for spreadsheets (csv) or papers (latex, markdown).

    TABLES are names, such as accuracy; all by default.
    """
    from withstand.explore.export import export as run
    from withstand.results import load

    for path in run(load(results), tables, kind, output):
        click.echo(path)


@click.command(cls=Step)
@click.argument("configs", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1)
@click.option("--delete", is_flag=True, help="Delete what is listed; without, it is only listed.")
@click.option("--studies", is_flag=True, help="Also delete all of the studies that no config is of.")
def gc(configs: tuple[Path, ...], delete: bool, studies: bool) -> None:
    """List the files in results/ that no config refers to any more, or delete them.

    CONFIGS are the configs of all studies that are kept; config.yaml and studies/*.yaml by default.
    """
    from withstand.explore import garbage as step

    with step.no_run():
        found = step.find_garbage(configs or step.default_configs(), named=bool(configs), studies=studies)
        click.echo(step.told(found, studies=studies))
        if delete:
            click.echo(f"Freed {step.in_bytes(step.remove(found, studies=studies))}.")


@click.command()
@click.argument("results", type=FOLDER, nargs=-1, required=True)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Page to write; pictures go to a folder of its name beside it.",
)
def gallery(results: tuple[Path, ...], output: Path) -> None:
    """Write what studies found, and their figures, as a page of Markdown.

    RESULTS are folders of finished studies, in the order of the page. A kind of figure is shown once, of the first
    study that has it; the report of a study has all of them.
    """
    from withstand.report.gallery import write_gallery

    written = write_gallery(results, output)
    click.echo(f"{output}: {len(written) - 1} figures, {sum(path.stat().st_size for path in written) / 1e6:.1f} MB")


COMMANDS = (compare, query, export, gallery, gc)
"""What the command ``withstand`` takes over."""
