from hypothesis import given
from hypothesis import strategies as st

from app.domain.message import Message, pack, unpack

TEXT = st.text(st.characters(codec="utf-8"))


@given(st.binary(), TEXT, st.dictionaries(TEXT, TEXT))
def test_what_is_packed_is_unpacked_as_it_was(body: bytes, key: str, attributes: dict[str, str]) -> None:
    message = Message("topic_route_events", body, key=key, attributes=attributes)
    assert unpack(pack(message)) == message
