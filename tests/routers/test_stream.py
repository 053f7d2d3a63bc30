import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from starlette.websockets import WebSocket

from app.infra.db import Database
from app.routers.socket import CLOSE_CODES, Outbox
from app.services.schemas.fill import FillIn
from tests import scenarios
from tests.factories import fill
from tests.scenarios import Office, Stream

BIG = {"type": "update", "data": "x" * 1000}


@pytest.fixture
async def office(clean_database: Database, postgres_url: str) -> AsyncIterator[Office]:
    async with scenarios.office(postgres_url) as office:
        yield office


@pytest.fixture
async def url(office: Office) -> AsyncIterator[str]:
    async with scenarios.served(office) as url:
        yield url


@pytest.fixture
async def stream(office: Office, url: str) -> AsyncIterator[Stream]:
    async with scenarios.stream(url, office.key) as stream:
        yield stream


async def follow(stream: Stream, *routes: UUID, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Subscribe to routes; answers the acknowledgement and a snapshot of each."""
    await stream.say(op="subscribe", channel="routes", route_ids=[str(route_id) for route_id in routes], **options)
    return await stream.hear(), await stream.hear_many(len(routes))


def seqs(updates: list[dict[str, Any]], route_id: UUID) -> list[int]:
    """List the seqs of one route's updates."""
    return [update["seq"] for update in updates if update["route_id"] == str(route_id)]


async def test_a_route_is_followed_from_a_snapshot_on(office: Office, stream: Stream) -> None:
    route_id = (await office.desk.request()).route_id
    subscribed, (snapshot,) = await follow(stream, route_id)
    assert (subscribed["type"], subscribed["recovered"]) == ("subscribed", True)
    assert subscribed["route_ids"] == [str(route_id)]
    assert (snapshot["type"], snapshot["seq"], snapshot["data"]["status"]) == ("snapshot", 3, "data_ready")
    assert snapshot["epoch"] == subscribed["epoch"]

    await office.desk.settle()
    updates = await stream.hear_many(8)
    assert seqs(updates, route_id) == list(range(4, 12))
    assert {update["type"] for update in updates} == {"update"}
    assert [update["data"]["status"] for update in updates][-2:] == ["inference_ready", "ready"]
    solved = updates[-1]["data"]
    assert (solved["revision"], solved["solution"]["receives"]["amount"]) == (1, "0.5")
    document = (await office.client.get(f"/v1/routes/{route_id}")).json()
    assert solved["solution"] == document["solution"]


async def test_what_was_missed_is_replayed(office: Office, url: str) -> None:
    route_id = (await office.desk.request()).route_id
    async with scenarios.stream(url, office.key) as first:
        subscribed, _ = await follow(first, route_id)
    await office.desk.settle()
    async with scenarios.stream(url, office.key) as second:
        resume = {"epoch": subscribed["epoch"], "seq": {str(route_id): 3}}
        await second.say(op="subscribe", channel="routes", route_ids=[str(route_id)], **{"from": resume})
        again = await second.hear()
        assert (again["recovered"], again["epoch"]) == (True, subscribed["epoch"])
        assert seqs(await second.hear_many(8), route_id) == list(range(4, 12))
        await office.desk.stages.sweeper.sweep()
        assert (await second.hear())["seq"] == 12


@pytest.mark.parametrize(
    "resume",
    [
        {"epoch": "another", "seq": 5},
        {"epoch": None, "seq": 99},
        {"epoch": None, "seq": -1},
        {"epoch": None, "seq": 1 << 40},
        {"epoch": None, "seq": "5"},
        {"epoch": None, "seq": None},
    ],
)
async def test_what_cannot_be_resumed_says_so_and_starts_anew(
    office: Office, stream: Stream, resume: dict[str, Any]
) -> None:
    route_id = await office.desk.ready()
    epoch = resume["epoch"] or await office.desk.services.streaming.epoch()
    start = {"epoch": epoch, "seq": {str(route_id): resume["seq"]}}
    subscribed, (snapshot,) = await follow(stream, route_id, **{"from": start})
    assert subscribed["recovered"] is False
    assert (snapshot["type"], snapshot["seq"], snapshot["recovered"]) == ("snapshot", 11, False)
    await office.desk.services.canceller.cancel("desk", route_id)
    assert (await stream.hear())["seq"] == 12


async def test_all_routes_are_followed_and_resumed_by_a_cursor(office: Office, url: str) -> None:
    async with scenarios.stream(url, office.key) as first:
        await first.say(op="subscribe", channel="routes", all=True)
        subscribed = await first.hear()
        assert (subscribed["type"], subscribed["recovered"]) == ("subscribed", True)
        routes = [await office.desk.ready() for _ in range(2)]
        seen = await first.hear_many(22)
    for route_id in routes:
        assert seqs(seen, route_id) == list(range(1, 12))

    third = await office.desk.ready()
    await office.desk.stages.sweeper.sweep()
    for cut in (0, 5, 21):
        async with scenarios.stream(url, office.key) as again:
            await again.say(op="subscribe", channel="routes", all=True, cursor=seen[cut]["cursor"])
            assert (await again.hear())["recovered"] is True
            rest = await again.hear_many(36 - cut - 1)
            for route_id in (*routes, third):
                assert seqs(seen[: cut + 1] + rest, route_id) == list(range(1, 13))


async def test_from_now_on_means_from_now_on(office: Office, stream: Stream) -> None:
    old = await office.desk.ready()
    await stream.say(op="subscribe", channel="routes", all=True)
    await stream.hear()
    await office.desk.services.canceller.cancel("desk", old)
    heard = await stream.hear()
    assert (heard["route_id"], heard["seq"], heard["data"]["status"]) == (str(old), 12, "cancelled")


async def test_a_cursor_of_another_history_is_not_resumed(office: Office, stream: Stream) -> None:
    await stream.say(op="subscribe", channel="routes", all=True)
    cursor = (await stream.hear())["cursor"]
    await stream.say(op="subscribe", channel="routes", all=True, cursor=f"another/{cursor.partition('/')[2]}")
    assert (await stream.hear())["recovered"] is False
    ahead = f"{cursor.partition('/')[0]}/{1 << 60}-0"
    await stream.say(op="subscribe", channel="routes", all=True, cursor=ahead)
    assert (await stream.hear())["recovered"] is False


async def test_one_program_never_hears_of_another(office: Office, url: str) -> None:
    theirs = (await office.desk.request(program="other")).route_id
    async with scenarios.stream(url, office.key) as stream:
        await stream.say(op="subscribe", channel="routes", all=True)
        await stream.hear()
        mine = (await office.desk.request()).route_id
        unknown = uuid4()
        await stream.say(op="subscribe", channel="routes", route_ids=[str(theirs), str(unknown), str(mine)])
        await office.desk.settle()
        heard: list[dict[str, Any]] = []
        while not heard or heard[-1].get("data", {}).get("status") != "ready":
            heard.append(await stream.hear())
    errors = [message for message in heard if message["type"] == "error"]
    assert [(error["code"], error["route_id"]) for error in errors] == [
        ("not-found", str(theirs)),
        ("not-found", str(unknown)),
    ]
    (subscribed,) = [message for message in heard if message["type"] == "subscribed"]
    assert subscribed["route_ids"] == [str(mine)]
    assert {message["route_id"] for message in heard if message["type"] in ("update", "snapshot")} == {str(mine)}


async def test_two_sockets_hear_the_same(office: Office, url: str) -> None:
    route_id = (await office.desk.request()).route_id
    async with scenarios.stream(url, office.key) as one, scenarios.stream(url, office.key) as two:
        await follow(one, route_id)
        await follow(two, route_id)
        await office.desk.settle()
        heard = [await stream.hear_many(8) for stream in (one, two)]
    for messages in heard:
        for message in messages:
            message.pop("subscription")
    assert heard[0] == heard[1]


async def test_two_subscriptions_of_a_socket_are_told_apart(office: Office, stream: Stream) -> None:
    routes = [(await office.desk.request()).route_id for _ in range(2)]
    names = [(await follow(stream, route_id))[0]["subscription"] for route_id in routes]
    assert len(set(names)) == 2
    await stream.say(op="unsubscribe", subscription=names[0])
    await stream.say(op="unsubscribe", subscription=names[0])
    refused = await stream.hear()
    assert (refused["type"], refused["code"]) == ("error", "unknown-subscription")
    await office.desk.settle()
    heard = await stream.hear_many(8)
    assert {message["subscription"] for message in heard} == {names[1]}
    assert seqs(heard, routes[1]) == list(range(4, 12))


async def test_a_key_may_come_as_a_message(office: Office, url: str) -> None:
    route_id = await office.desk.ready()
    async with scenarios.stream(url, None) as stream:
        await stream.say(op="subscribe", channel="routes", route_ids=[str(route_id)])
        assert (await stream.hear())["code"] == "unauthenticated"
        await stream.say(op="auth", token=office.key)
        _, (snapshot,) = await follow(stream, route_id)
        assert snapshot["seq"] == 11


async def test_a_wrong_key_closes_with_its_code(office: Office, url: str) -> None:
    made = await office.desk.services.access.create_key("feeder", ["market"])
    wrong = {"nonsense": "unauthenticated", "sk_unknown": "unauthenticated", made.key: "forbidden"}
    for key, code in wrong.items():
        async with scenarios.stream(url, key) as stream:
            refused = await stream.hear()
            assert (refused["type"], refused["code"]) == ("error", code)
            assert await stream.end() == CLOSE_CODES[code]
    async with scenarios.stream(url, None) as stream:
        await stream.say(op="auth", token="nonsense")
        await stream.hear()
        assert await stream.end() == CLOSE_CODES["unauthenticated"]


async def test_a_socket_stays_with_its_program(office: Office, stream: Stream) -> None:
    other = await office.desk.services.access.create_key("other", ["trade"])
    await stream.say(op="auth", token=other.key)
    assert (await stream.hear())["code"] == "already-authenticated"
    renewed = await office.desk.services.access.create_key("desk", ["trade"])
    await stream.say(op="auth", token=renewed.key)
    await stream.say(op="ping")
    await stream.beat()


async def test_a_revoked_key_closes_its_sockets(office: Office, stream: Stream) -> None:
    await stream.say(op="ping")
    await stream.beat()
    (row,) = await office.desk.services.access.list_keys("desk")
    await office.desk.services.access.revoke(row.id)
    async with asyncio.timeout(5.0):
        assert (await stream.hear())["code"] == "unauthenticated"
        assert await stream.end() == CLOSE_CODES["unauthenticated"]


async def test_silence_is_broken_by_heartbeats(office: Office, stream: Stream) -> None:
    await stream.beat()
    await stream.say(op="ping")
    await stream.beat()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "malformed"),
        ("[]", "malformed"),
        (b"\xff", "malformed"),
        ("[" * 5000, "malformed"),
        ("{}", "unknown-operation"),
        ('{"op": ["x"]}', "unknown-operation"),
        ('{"op": "subscribe"}', "unknown-channel"),
        ('{"op": "subscribe", "channel": "weather"}', "unknown-channel"),
        ('{"op": "subscribe", "channel": "routes"}', "malformed"),
        ('{"op": "subscribe", "channel": "routes", "route_ids": []}', "malformed"),
        ('{"op": "subscribe", "channel": "routes", "route_ids": ["x"]}', "malformed"),
        ('{"op": "subscribe", "channel": "routes", "all": true, "cursor": "x"}', "malformed"),
        ('{"op": "subscribe", "channel": "routes", "all": true, "cursor": {}}', "malformed"),
        ('{"op": "subscribe", "channel": "routes", "all": true, "cursor": "e/1-99999999999999999999"}', "malformed"),
        ('{"op": "unsubscribe"}', "unknown-subscription"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_the_socket_lives_on(
    office: Office, stream: Stream, message: str | bytes, code: str
) -> None:
    await stream.say_raw(message)
    refused = await stream.hear()
    assert (refused["type"], refused["code"]) == ("error", code)
    await stream.say(op="ping")
    await stream.beat()


async def test_draining_is_announced(office: Office, url: str, stream: Stream) -> None:
    await stream.say(op="ping")
    await stream.beat()
    office.app.state.draining.set()
    assert (await stream.hear())["type"] == "closing"
    assert await stream.end() == CLOSE_CODES["going_away"]


async def test_what_is_replayed_may_be_larger_than_the_queue(clean_database: Database, postgres_url: str) -> None:
    async with (
        scenarios.office(postgres_url, limits={"socket_queue_bytes": 4096}) as office,
        scenarios.served(office) as url,
        scenarios.stream(url, office.key) as stream,
    ):
        start = await office.desk.services.streaming.end()
        routes = [await office.desk.ready() for _ in range(6)]
        _, snapshots = await follow(stream, *routes)
        assert {message["route_id"] for message in snapshots} == {str(route_id) for route_id in routes}
        epoch = await office.desk.services.streaming.epoch()
        async with scenarios.stream(url, office.key) as another:
            await another.say(op="subscribe", channel="routes", all=True, cursor=f"{epoch}/{start}")
            await another.hear()
            assert len(await another.hear_many(66)) == 66


async def test_fills_are_streamed(office: Office, stream: Stream) -> None:
    route_id = await office.desk.ready()
    await follow(stream, route_id)
    await office.desk.services.feedback.report("desk", route_id, FillIn(**fill()))
    heard = await stream.hear()
    assert (heard["seq"], heard["data"]["status"]) == (12, "filled")
    assert heard["data"]["detail"]["fill_id"] == "fill-1"


class Reader:
    """The far end of a socket, which reads only while it is told to."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.heard: list[dict[str, Any]] = []
        self.code: int | None = None
        self.socket = WebSocket({"type": "websocket"}, self._receive, self._send)

    async def accept(self) -> None:
        """Open the socket."""
        await self.socket.accept()

    async def _receive(self) -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            await self.reads.wait()
            self.heard.append(orjson.loads(message["text"]))
        elif message["type"] == "websocket.close":
            self.code = message["code"]


@pytest.fixture
async def reader() -> Reader:
    reader = Reader()
    await reader.accept()
    return reader


async def test_who_stops_reading_is_closed_with_a_code(reader: Reader) -> None:
    outbox = Outbox(reader.socket, limit_bytes=1 << 20, stalled_s=0.05)
    outbox.put(BIG)
    await outbox.run()
    await outbox.close()
    assert reader.code == CLOSE_CODES["slow_consumer"]


async def test_a_full_queue_is_dropped_and_its_socket_closed(reader: Reader) -> None:
    outbox = Outbox(reader.socket, limit_bytes=4096)
    for _ in range(5):
        outbox.put(BIG)
    reader.reads.set()
    await outbox.run()
    await outbox.close()
    assert (reader.heard, reader.code) == ([], CLOSE_CODES["slow_consumer"])


async def test_who_waits_for_room_loses_nothing(reader: Reader) -> None:
    outbox = Outbox(reader.socket, limit_bytes=4096)
    sending = asyncio.create_task(outbox.run())
    reader.reads.set()
    for number in range(50):
        await outbox.room()
        outbox.put({**BIG, "number": number})
    outbox.finish({"type": "closing"}, "going_away")
    await sending
    await outbox.close()
    assert [message.get("number") for message in reader.heard] == [*range(50), None]
    assert reader.code == CLOSE_CODES["going_away"]


async def test_who_waits_for_room_is_let_go_when_the_socket_ends(reader: Reader) -> None:
    outbox = Outbox(reader.socket, limit_bytes=1024, stalled_s=0.05)
    sending = asyncio.create_task(outbox.run())
    outbox.put(BIG)
    outbox.put(BIG)
    await outbox.room()
    await sending
    await outbox.close()
    assert reader.code == CLOSE_CODES["slow_consumer"]
