"""The `solver` command. Everything but Typer is imported when a command runs, so that help is there at once."""

import typer

from app.cli import (
    data,
    doctor,
    drawing,
    events,
    exporting,
    importing,
    jobs,
    keys,
    market,
    models,
    recording,
    solving,
    synthetic,
    trading,
    up,
    watching,
)
from app.cli.printing import SolverGroup

app = typer.Typer(
    name="solver",
    help="Execution routes for trades: run the service, ask it, feed it and look after it.",
    epilog="Most commands take --json. Exit codes: 0 done, 1 failed, 2 not a valid command or setting.",
    cls=SolverGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Panels would double the time that help takes.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

for running in (up.up, up.api, up.worker, up.migrate):
    app.command()(running)
app.command(hidden=True)(up.prepare)
for asking in (trading.route, trading.quote, solving.solve, solving.explain, watching.watch):
    app.command()(asking)
app.add_typer(market.app, name="market")
market.app.command("import")(importing.import_prices)
market.app.command("export")(exporting.export_prices)
market.app.command()(recording.record)
market.app.command()(drawing.chart)
app.command()(synthetic.synthetic)
app.add_typer(data.app, name="data")
app.add_typer(events.app, name="events")
app.add_typer(jobs.app, name="jobs")
app.add_typer(jobs.archive, name="archive")
app.command()(models.models)
app.add_typer(keys.app, name="keys")
app.command()(doctor.doctor)


def main() -> None:
    """Run the command line."""
    app(prog_name="solver")
