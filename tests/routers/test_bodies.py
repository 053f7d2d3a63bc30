import pytest

from tests.routers.stage import Stage, chunked

MIB = 1 << 20


async def test_a_message_and_its_json(stage: Stage) -> None:
    answer = await stage.post("/v1/orders", json={"quantity": "2.5"})
    assert answer.status_code == 200
    assert answer.json() == {"program": "desk", "quantity": "2.5", "parsed": {"quantity": "2.5"}}


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        (b'{"quantity": "1", "weight": NaN}', "/weight"),
        (b'{"quantity": "1", "weight": -Infinity}', "/weight"),
        (b'{"quantity": "1", "weight": 1e999}', "/weight"),
        (b'{"quantity": NaN}', "/quantity"),
        (b'{"quantity": "1", "note": {"a": [0, Infinity]}}', "/note/a/1"),
        (b'{"quantity": 1.5}', "/quantity"),
        (b'{"quantity": "-1"}', "/quantity"),
        (b'{"quantity": "1", "unknown": 1}', "/unknown"),
        (b"{}", "/quantity"),
        (b"[]", ""),
        (b"{", ""),
        (b"", ""),
        (b"\xff\xfe", ""),
        (b"[" * 100_000, ""),
        (b'{"quantity": "1"} x', ""),
        (b'{"quantity": "\xed\xa0\x80"}', ""),
    ],
)
@pytest.mark.parametrize("path", ["/v1/orders", "/v1/orders:batch"])
async def test_what_is_not_valid_is_pointed_at(stage: Stage, path: str, content: bytes, pointer: str) -> None:
    answer = await stage.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert all(error["message"] for error in answer.json()["errors"])


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
async def test_a_number_beyond_every_float(stage: Stage, number: str) -> None:
    answer = await stage.post("/v1/orders", content=f'{{"quantity": "1", "note": {{"a": {number}}}}}'.encode())
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/note/a"


@pytest.mark.parametrize("note", ["1" * 400, "1" * 5000, '{"b": ' * 300 + "1" + "}" * 300])
async def test_extreme_numbers_and_depths_are_no_accident(stage: Stage, note: str) -> None:
    answer = await stage.post("/v1/orders", content=f'{{"quantity": "1", "note": {{"a": {note}}}}}'.encode())
    assert answer.status_code in (200, 422)


async def test_text_may_say_nan(stage: Stage) -> None:
    answer = await stage.post("/v1/orders", json={"quantity": "1", "note": {"text": "NaN and Infinity"}})
    assert answer.status_code == 200


async def test_a_body_over_its_limit(stage: Stage) -> None:
    content = b'{"quantity": "' + b"1" * 2 * MIB + b'"}'
    answer = await stage.post("/v1/orders", content=content)
    assert answer.status_code == 413
    assert answer.json()["type"].endswith("too-large")


async def test_a_body_over_its_limit_is_not_read_to_its_end(stage: Stage) -> None:
    sent: list[int] = []
    answer = await stage.post("/v1/orders", content=chunked([b" " * (MIB // 4)] * 20, sent))
    assert answer.status_code == 413
    assert len(sent) < 8


async def test_a_batch_may_be_larger(stage: Stage) -> None:
    padding = b" " * (2 * MIB)
    answer = await stage.post("/v1/orders:batch", content=chunked([b'{"quantity": ', padding, b'"2"}'], []))
    assert answer.status_code == 200
    answer = await stage.post("/v1/orders:batch", content=padding * 5)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 200),
        ("multipart/form-data", 415),
        ("application/jsonp", 415),
    ],
)
async def test_content_types(stage: Stage, content_type: str, status: int) -> None:
    answer = await stage.post("/v1/orders", content=b'{"quantity": "2"}', headers={"Content-Type": content_type})
    assert answer.status_code == status


@pytest.mark.parametrize(("encoding", "status"), [("gzip", 415), ("br", 415), ("identity", 200)])
async def test_a_body_is_sent_as_it_is(stage: Stage, encoding: str, status: int) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    answer = await stage.post("/v1/orders", content=b'{"quantity": "2"}', headers=headers)
    assert answer.status_code == status


async def test_a_missing_content_type_is_json(stage: Stage) -> None:
    answer = await stage.post("/v1/orders", content=b'{"quantity": "2"}')
    assert answer.status_code == 200
