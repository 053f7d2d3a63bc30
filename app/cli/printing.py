"""What commands share: how they print, in which form, and how they say that something went wrong."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
_JSON_KEY = "solver.json"
_PIPED_WIDTH = 240
_DIGITS_SHOWN = 12


class CommandFailed(Exception):
    """A failure that the user can do something about."""

    def __init__(
        self,
        title: str,
        detail: str,
        remedy: str = "",
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        exit_code: int = 1,
    ) -> None:
        super().__init__(detail)
        self.title = title
        self.detail = detail
        self.remedy = remedy
        self.errors = list(errors)
        self.exit_code = exit_code


class Group(TyperGroup):
    """A group that offers --help only where an option can be meant for itself."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the arguments up to the command's name."""
        # Typer loads pydantic (50 ms) to convert the value of a help option that was not even given.
        self.add_help_option = not args or args[0].startswith("-")
        return super().parse_args(ctx, args)


class SolverGroup(Group):
    """The root command: turns every foreseen failure into a few lines, or one JSON document, and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note whether JSON was asked for, whichever command follows."""
        ctx.meta[_JSON_KEY] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command and report how it failed."""
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            if ctx.meta[_JSON_KEY]:
                print_json({"error": {"title": "Not a valid command", "detail": error.format_message()}})
            raise
        except (KeyboardInterrupt, BrokenPipeError):
            raise typer.Exit(1) from None
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                raise
            report(problem, as_json=ctx.meta[_JSON_KEY])
            raise typer.Exit(error.exit_code if isinstance(error, CommandFailed) else 1) from error


def print_json(document: Any) -> None:
    """Write one JSON document on one line."""
    typer.echo(json.dumps(document, default=str, ensure_ascii=False))


def console(*, stderr: bool = False) -> "Console":
    """Make a console that writes tables; colours only on a terminal, and never with NO_COLOR."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # Where nobody looks at a screen, lines are read by programs: they must not be folded at 80 characters.
    width = None if stream.isatty() else _PIPED_WIDTH
    return Console(stderr=stderr, highlight=False, width=width)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """Write rows as a table; columns that start with `>` are aligned right."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column.removeprefix(">"), justify="right" if column.startswith(">") else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(cell_text(value)) for value in row))
    console().print(table)


def cell_text(value: Any) -> str:
    """Write a value for a person."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case list() | tuple() if all(isinstance(each, str) for each in value):
            return ", ".join(value) or "–"
        case list() | tuple() | dict():
            return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)


def decimal_text(value: str) -> str:
    """Shorten a decimal for a person; JSON has all of its digits."""
    from decimal import Context, Decimal

    return f"{Context(prec=_DIGITS_SHOWN).create_decimal(Decimal(value)).normalize():f}"


@contextmanager
def progress_bar(description: str, *, as_json: bool) -> Iterator["ProgressBar"]:
    """Show a progress bar on the terminal, and nothing where there is none."""
    if as_json or not sys.stderr.isatty():
        yield ProgressBar(None, description)
        return
    from rich.progress import Progress

    with Progress(console=console(stderr=True), transient=True) as progress:
        yield ProgressBar(progress, description)


class ProgressBar:
    """How far a long command is; also takes the place of a job's progress."""

    def __init__(self, progress: "Progress | None", description: str) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=1.0) if progress is not None else None

    async def advance(self, progress: float) -> None:
        """Show a progress of 0 to 1."""
        self.show(progress)

    def show(self, progress: float) -> None:
        """Show a progress of 0 to 1."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=progress)


def problem_of(error: BaseException) -> dict[str, Any] | None:
    """Write a foreseen failure as a problem document with `remedy`; None for what should not happen."""
    if isinstance(error, CommandFailed):
        stated: dict[str, Any] = {
            "title": error.title,
            "detail": error.detail,
            "errors": error.errors,
            "remedy": error.remedy,
        }
        return _without_empty(stated)
    if type(error).__module__.startswith("app.client"):
        return _client_problem(error)
    from app.domain.errors import Infeasible, Invalid, NotFound, SolverError, Unavailable
    from app.infra.embedded.errors import EmbeddedError
    from app.infra.extras import MissingExtra

    if isinstance(error, EmbeddedError):
        return {"title": "This machine's installation", "detail": str(error)}
    if isinstance(error, MissingExtra):
        return {"title": "Something is not installed", "detail": str(error), "remedy": error.remedy}
    if not isinstance(error, SolverError):
        return None
    problem: dict[str, Any] = {"type": f"urn:solver:problem:{error.code}", "detail": error.detail}
    match error:
        case Unavailable():
            return {"title": "The database does not answer", **problem, "remedy": _START}
        case NotFound():
            return {"title": "Not found", **problem}
        case Infeasible():
            stated = {"constraint": error.constraint, "nearest": error.nearest}
            return {"title": "The market cannot satisfy this trade", **problem, **stated}
        case Invalid():
            fields = [{"pointer": each.pointer, "message": each.message} for each in error.errors]
            return _without_empty({"title": "Not valid", **problem, "errors": fields})
    return {"title": error.code.replace("-", " ").capitalize(), **problem}


def report(problem: Mapping[str, Any], *, as_json: bool) -> None:
    """Say what went wrong and what to do next: on stderr, and with JSON the document on stdout too."""
    if as_json:
        print_json({"error": problem})
    lines = [f"{problem.get('title', 'Error')}: {problem.get('detail') or 'no reason was given'}"]
    lines += [f"  {_place(each)}  {each.get('message', '')}" for each in problem.get("errors", [])]
    if "constraint" in problem:
        nearest = problem.get("nearest")
        lines.append(f"  {problem['constraint']}" + (f"; the nearest feasible value is {nearest}" if nearest else ""))
    if problem.get("remedy"):
        lines.append(f"→ {problem['remedy']}")
    typer.echo("\n".join(lines), err=True)


def _place(error: Mapping[str, Any]) -> str:
    if "row" in error:
        return f"row {error['row']}" + (f", {error['column']}" if error.get("column") else "")
    return error.get("pointer") or "/"


_START = "start the service with `solver up`; `solver doctor` says what is wrong"
_REMEDIES = {
    401: "make a key with `solver keys create`, or let `solver up` write credentials.json anew",
    403: "make a key with the scope with `solver keys create PROGRAM --scope …`",
    429: "wait as long as Retry-After says, or use a key made with --unlimited",
    500: "look into the service's log for this trace_id",
    503: "wait a moment and try again; `solver doctor` says what is away",
}


def _client_problem(error: BaseException) -> dict[str, Any]:
    from app.client.errors import MissingCredentials, SolverApiError, SolverUnreachable

    if isinstance(error, SolverApiError):
        return _without_empty({**error.problem, "remedy": _REMEDIES.get(error.status, "")})
    if isinstance(error, SolverUnreachable):
        return {"title": "The service does not run", "detail": str(error), "remedy": _START}
    if isinstance(error, MissingCredentials):
        remedy = "start the service with `solver up`, or name its data directory in SOLVER_DATA_DIR"
        return {"title": "No service is known", "detail": str(error), "remedy": remedy}
    return {"title": "The call failed", "detail": str(error)}


def _without_empty(problem: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in problem.items() if value not in ("", [])}
