"""`solver jobs` and `solver archive`: long work, done by a worker or here."""

import asyncio
import json
from typing import Annotated, Any

import typer

from app.cli.connecting import open_client, open_tool
from app.cli.printing import Group, Json, print_json, print_table, progress_bar

app = typer.Typer(
    cls=Group, help="Long work that a worker does: ask for it, follow it, cancel it.", no_args_is_help=True
)
archive = typer.Typer(cls=Group, help="Move old records into zipped files, and back.", no_args_is_help=True)

_OVER = frozenset({"succeeded", "failed", "cancelled"})
_POLL_S = 0.5
JobId = Annotated[str, typer.Argument(help="Its id, as listed.")]


@app.command()
def submit(
    kind: Annotated[str, typer.Argument(help="What to do, such as archive.")],
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, the value in JSON or a word.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for its end.")] = False,
    as_json: Json = False,
) -> None:
    """Ask for a job. Example: solver jobs submit archive --param older_than_h=720"""
    params = dict(_param(text) for text in param or ())
    _show(asyncio.run(_submit(kind, params, follow=follow, as_json=as_json)), as_json=as_json)


@app.command(name="list")
def list_jobs(
    status: Annotated[str | None, typer.Option(help="queued, running, succeeded, failed or cancelled.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    items = asyncio.run(_list(status, kind, limit))
    if as_json:
        print_json(items)
        return
    print_table(
        ("id", "kind", "status", ">progress", "created", "error"),
        ((j["id"], j["kind"], j["status"], f"{j['progress']:.0%}", j["created_at"], j.get("error")) for j in items),
    )


@app.command()
def show(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for its end.")] = False,
    as_json: Json = False,
) -> None:
    """Show a job, how far it is and what came of it."""
    _show(asyncio.run(_read(job_id, follow=follow, as_json=as_json)), as_json=as_json)


@app.command()
def cancel(job_id: JobId, as_json: Json = False) -> None:
    """Cancel a job; one that runs stops at its next step."""
    job = asyncio.run(_cancel(job_id))
    if as_json:
        print_json(job)
    else:
        typer.echo(f"{job['id']} is {'to stop' if job['status'] == 'running' else job['status']}")


@archive.command(name="run")
def run_archive(
    older_than_h: Annotated[float | None, typer.Option(help="Hours; the configured retention if unset.", min=0)] = None,
    as_json: Json = False,
) -> None:
    """Move what is past its retention into zipped files in the data directory."""
    result = asyncio.run(_archive(older_than_h, as_json=as_json))
    if as_json:
        print_json(result)
        return
    moved = ", ".join(f"{count} of {table}" for table, count in result["moved"].items())
    typer.echo(f"moved {moved} from before {result['before']}")
    for file in result["files"]:
        typer.echo(f"  {file}")


@archive.command(name="restore")
def restore_archive(
    file: Annotated[str, typer.Argument(help="A file of the archive, as listed.")], as_json: Json = False
) -> None:
    """Put the records of a file back; those that are there are left alone."""
    result = asyncio.run(_restore(file))
    if as_json:
        print_json(result)
    else:
        typer.echo(f"put {result['restored']} back; {result['present']} were there")


@archive.command(name="list")
def list_archive(as_json: Json = False) -> None:
    """List the files of the archive."""
    files = asyncio.run(_files())
    if as_json:
        print_json(files)
    for file in () if as_json else files:
        typer.echo(file)


async def _submit(kind: str, params: dict[str, Any], *, follow: bool, as_json: bool) -> dict[str, Any]:
    async with open_client() as client:
        job = await client.submit_job(kind, params)
    return await _read(job["id"], follow=True, as_json=as_json) if follow else job


async def _list(status: str | None, kind: str | None, limit: int) -> list[dict[str, Any]]:
    async with open_client() as client:
        items: list[dict[str, Any]] = (await client.jobs(status=status, kind=kind, limit=limit))["items"]
        return items


async def _read(job_id: str, *, follow: bool, as_json: bool) -> dict[str, Any]:
    async with open_client() as client:
        job = await client.get_job(job_id)
        if not follow:
            return job
        with progress_bar(str(job["kind"]), as_json=as_json) as bar:
            while job["status"] not in _OVER:
                bar.show(job["progress"])
                await asyncio.sleep(_POLL_S)
                job = await client.get_job(job_id)
    return job


async def _cancel(job_id: str) -> dict[str, Any]:
    async with open_client() as client:
        return await client.cancel_job(job_id)


async def _archive(older_than_h: float | None, *, as_json: bool) -> dict[str, Any]:
    from app.services.schemas.jobs import ArchiveParams

    with progress_bar("archiving", as_json=as_json) as bar:
        async with open_tool() as services:
            return await services.archive.run(ArchiveParams(older_than_h=older_than_h), bar)


async def _restore(file: str) -> dict[str, int]:
    async with open_tool() as services:
        return await services.archive.restore(file)


async def _files() -> list[str]:
    async with open_tool() as services:
        return list(await services.archive.files())


def _show(job: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        print_table(("field", "value"), job.items())
    if job["status"] == "failed":
        typer.echo(f"the job failed: {job.get('error')}", err=True)
        raise typer.Exit(1)


def _param(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--param")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
