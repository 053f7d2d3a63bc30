"""`solver events`: the manual way in and out of the topic of routes."""

import asyncio
import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import typer

from app.cli.connecting import open_tool, read_documents
from app.cli.printing import CommandFailed, Group, Json, print_json, print_table

app = typer.Typer(cls=Group, help="Publish events by hand; see and replay those that failed.", no_args_is_help=True)


class Topic(StrEnum):
    """What may be published to."""

    ROUTES = "topic_route_events"
    PRICES = "prices"


@app.command()
def publish(
    file: Annotated[str, typer.Argument(help="Events in JSON: one, a list, or one a line; - for input.")],
    topic: Annotated[
        Topic,
        typer.Option(help="CloudEvents about routes; or prices, {symbol, value, timestamp} or CloudEvents of it."),
    ] = Topic.ROUTES,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Publish what no schema accepts, too.")] = False,
    as_json: Json = False,
) -> None:
    """Put events on the topic, as a program would; all of them, or none when one is not valid."""
    bodies = [json.dumps(document).encode() for document in read_documents(file)]
    if not unchecked:
        _check(bodies, topic)
    asyncio.run(_publish(bodies, topic))
    if as_json:
        print_json({"published": len(bodies)})
    else:
        typer.echo(f"published {len(bodies)} event{'s' * (len(bodies) != 1)}")


@app.command()
def dead(
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1)] = 100,
    replayed: Annotated[bool, typer.Option("--replayed", help="Those put back as well.")] = False,
    as_json: Json = False,
) -> None:
    """List events that no retry helped, with the reason."""
    letters = asyncio.run(_dead(limit, replayed))
    if as_json:
        print_json([_document(letter) for letter in letters])
        return
    if not letters:
        typer.echo("there are no dead letters")
        return
    print_table(
        ("id", "stage", "route", "code", "reason", ">attempts", "since"),
        (
            (
                each["id"],
                each["consumer"],
                each["route_id"],
                each["code"],
                each["reason"],
                each["attempts"],
                _since(each),
            )
            for each in letters
        ),
    )
    typer.echo("\nmend what the reason says, then `solver events replay ID…` or `--all`", err=True)


@app.command()
def replay(
    identifiers: Annotated[list[UUID] | None, typer.Argument(help="Dead letters by id.", show_default=False)] = None,
    all_letters: Annotated[bool, typer.Option("--all", help="Every dead letter.")] = False,
    as_json: Json = False,
) -> None:
    """Put dead letters back for their stage, with all their attempts; one put back before is left alone."""
    if bool(identifiers) == all_letters:
        raise typer.BadParameter("name dead letters, or --all")
    count = asyncio.run(_replay(identifiers))
    if as_json:
        print_json({"replayed": count})
    else:
        typer.echo(f"put {count} back")
    if identifiers and count < len(set(identifiers)):
        typer.echo(f"{len(set(identifiers)) - count} of them are no dead letters, or were put back before", err=True)


def _check(bodies: Sequence[bytes], topic: Topic) -> None:
    from app.domain.errors import Malformed
    from app.services.event_check import check_event
    from app.services.price_topic import read_price_message
    from app.services.publishing import price_message_of

    wrong: list[str] = []
    for number, body in enumerate(bodies, 1):
        try:
            if topic is Topic.PRICES:
                read_price_message(price_message_of(body, topic))
            else:
                check_event(body)
        except Malformed as error:
            wrong.append(f"event {number}: {error.detail}")
    if wrong:
        remedy = "correct them; nothing was published (--unchecked sends them to the dead letters)"
        raise CommandFailed("No schema accepts these events", "; ".join(wrong), remedy)


async def _publish(bodies: Sequence[bytes], topic: Topic) -> None:
    async with open_tool() as services:
        publishing = services.publishing
        await (publishing.publish_prices(bodies) if topic is Topic.PRICES else publishing.publish(bodies))


async def _dead(limit: int, replayed: bool) -> list[dict[str, Any]]:
    async with open_tool() as services:
        return await services.publishing.dead(limit=limit, replayed=replayed)


async def _replay(identifiers: list[UUID] | None) -> int:
    async with open_tool() as services:
        return await services.publishing.replay(identifiers or None)


def _document(letter: dict[str, Any]) -> dict[str, Any]:
    payload = letter.get("payload")
    text = payload.decode(errors="replace") if isinstance(payload, bytes) else payload
    return {**letter, "payload": text}


def _since(letter: dict[str, Any]) -> str:
    return f"{letter['created_at']:%Y-%m-%d %H:%M:%S}"
