"""The picture of a solution: complete, escaped and sane at any size."""

from itertools import pairwise
from typing import Any
from xml.dom.minidom import Document, Element, parseString

import pytest

from app.services.picture import draw
from app.services.picture.layout import arrange
from app.services.picture.markup import quantity, shorten

HOSTILE = "</svg><script>alert('1')</script>&\"]]>"


def leg(market_id: str = "m", gives: str = "USD", takes: str = "BTC", amount: str = "1", step: int = 0) -> Any:
    return {
        "market_id": market_id,
        "venue": market_id.partition(":")[0],
        "step": step,
        "sends": {"asset": gives, "amount": amount},
        "receives": {"asset": takes, "amount": amount},
        "price": "1",
        "limit_price": "1",
        "fee": {"asset": gives, "amount": "0"},
    }


def part(*legs: Any, second: int = 0, indicative: bool = False, quantity: str = "1") -> dict[str, Any]:
    at = f"2026-01-05T{12 + second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
    return {"at": at, "quantity": quantity, "indicative": indicative, "legs": list(legs)}


def solution(*slices: Any, **fields: Any) -> dict[str, Any]:
    return {
        "sends": {"asset": "USD", "amount": "160112.91"},
        "receives": {"asset": "BTC", "amount": "2.5"},
        "effective_price": "64045.164",
        "arrival_price": "64020.5",
        "slippage_bps": 3.85,
        "residuals": {},
        "costs": {"fees": "40", "impact": "21.5", "fixed": "0", "asset": "USD"},
        "slices": list(slices or (part(leg()),)),
        "schedule": {"expected_cost": "61.5", "cost_sd": "3", "frontier": []},
        "certificate": {"bound": "160112.9", "gap_bps": 0.00002, "arbitrage": "0", "relaxed": ["lots"]},
        "explanation": {
            "alternatives": [{"name": "best_single_market", "receives": "2.4", "saving_bps": 11.2}],
            "binding": ["max_legs"],
            "marginal_prices": {},
        },
        **fields,
    }


def drawn(document: Any, **options: Any) -> Element:
    parsed: Document = parseString(draw(document, **options))
    assert parsed.documentElement is not None
    return parsed.documentElement


def texts(root: Element, tag: str = "text") -> list[str]:
    return ["".join(str(child.nodeValue) for child in node.childNodes) for node in root.getElementsByTagName(tag)]


def ribbons(root: Element) -> list[Element]:
    return [each for each in root.getElementsByTagName("path") if "ribbon" in each.getAttribute("class")]


def test_it_is_an_image_that_tells_what_it_shows() -> None:
    root = drawn(solution(), trade={"side": "buy", "instrument": "BTC-USD"})
    assert (root.tagName, root.getAttribute("role")) == ("svg", "img")
    assert texts(root, "title")[0] == "buy BTC-USD: 160112.91 USD → 2.5 BTC"
    (description,) = texts(root, "desc")
    assert "m on m: 1 USD → 1 BTC at 1" in description
    assert "prefers-color-scheme:dark" in texts(root, "style")[0]
    assert not root.getElementsByTagName("script")
    assert "http" not in draw(solution()).replace("http://www.w3.org/2000/svg", "")


def test_each_leg_is_labelled_with_market_amounts_price_and_fee() -> None:
    shown = texts(drawn(solution(part(leg("kraken:BTC-USD", amount="2.5"), leg("uni:BTC-USD")))))
    assert "kraken:BTC-USD" in shown
    assert "2.5 USD → 2.5 BTC at 1, fee 0 USD" in shown
    assert "11.20 bp worse, receives 2.4" in shown


def test_ribbons_are_as_wide_as_what_flows() -> None:
    legs = [leg("a", amount="3"), leg("b", amount="1"), leg("c", takes="ETH", amount="4"), leg("d", "ETH", step=1)]
    widths = {each.label_column: [] for each in arrange(legs, 10.0).ribbons}  # type: ignore[var-annotated]
    for ribbon in arrange(legs, 10.0).ribbons:
        widths[ribbon.label_column].append(ribbon.width)
    whole = sum(widths[1])
    assert [width / whole for width in widths[1]] == pytest.approx([3 / 8, 1 / 8, 1 / 2])
    assert [width / whole for width in widths[3]] == pytest.approx([1 / 2])


def test_nothing_overlaps_within_a_column() -> None:
    legs = [leg(f"m{number}", amount=str(number + 1)) for number in range(20)]
    legs += [leg("x", takes="ETH", amount="50"), leg("y", "ETH", amount="1", step=1)]
    layout = arrange(legs, 16.0)
    lanes = sorted((ribbon.lanes[1], max(ribbon.width, 16.0)) for ribbon in layout.ribbons if 1 in ribbon.lanes)
    for (upper, above), (lower, below) in pairwise(lanes):
        assert upper + above / 2 <= lower - below / 2
    assert lanes[0][0] >= 0
    assert lanes[-1][0] <= layout.height


def test_a_flow_that_comes_back_ends_at_a_bar_of_its_own() -> None:
    legs = [leg("a", "USD", "ETH"), leg("b", "ETH", "BTC", step=1), leg("c", "BTC", "ETH", step=2)]
    layout = arrange(legs, 16.0)
    assert [station.asset for station in layout.stations] == ["USD", "ETH", "BTC", "ETH (again)"]
    assert all(ribbon.label_column <= ribbon.last_column for ribbon in layout.ribbons)


@pytest.mark.parametrize("name", [HOSTILE, "\x01\ud800\ufffe", "x" * 128, "' onload='alert(1)", "币安:比特币"])
def test_names_are_text_and_nothing_else(name: str) -> None:
    legs = [leg(name, name, "BTC"), leg(name, "USD", name)]
    document = solution(part(*legs), sends={"asset": name, "amount": "1"}, residuals={name: "1"})
    document["costs"]["asset"] = name
    document["explanation"]["binding"] = [name]
    document["explanation"]["alternatives"][0]["name"] = name
    document["certificate"]["relaxed"] = [name]
    root = drawn(document, trade={"side": "buy", "instrument": name}, name=name)
    assert not root.getElementsByTagName("script")
    assert not any(each.hasAttribute("onload") for each in root.getElementsByTagName("*"))
    draw(document).encode()


@pytest.mark.parametrize("count", [1, 24, 25, 100, 1000])
def test_any_number_of_legs_is_drawn(count: int) -> None:
    legs = [leg(f"m{number}", amount=str(number + 1)) for number in range(count)]
    root = drawn(solution(part(*legs)))
    assert len(ribbons(root)) == min(count, 151)
    height = float(root.getAttribute("height"))
    assert height < 4000
    assert all(0 <= float(each.getAttribute("y")) <= height for each in root.getElementsByTagName("text"))


@pytest.mark.parametrize("count", [2, 30, 1000, 10_000])
def test_any_number_of_slices_is_drawn(count: int) -> None:
    slices = [part(leg(), second=second, indicative=second > 0) for second in range(count)]
    root = drawn(solution(*slices))
    hatched = [each for each in root.getElementsByTagName("rect") if "hatch" in each.getAttribute("fill")]
    firm = [each for each in root.getElementsByTagName("rect") if each.getAttribute("class") == "firm"]
    assert len(hatched) == {2: 1, 30: 29, 1000: 333, 10_000: 399}[count]
    assert len(firm) == 1
    assert f"{count} slices over time; hatched ones are indicative" in texts(root)


def test_slices_without_time_between_them_or_quantity_are_drawn() -> None:
    drawn(solution(*[part(leg(), quantity="0") for _ in range(3)]))


@pytest.mark.parametrize("slices", [(part(),), (part(), part(leg(), second=1))])
def test_a_slice_without_legs_is_no_obstacle(slices: Any) -> None:
    drawn(solution(*slices))


@pytest.mark.parametrize("amount", ["0", "1e-18", "1e30", "0.000000000000000001", "9" * 60])
def test_any_amount_is_drawn(amount: str) -> None:
    assert all(len(text) < 200 for text in texts(drawn(solution(part(leg(amount=amount), leg("n", amount=amount))))))


@pytest.mark.parametrize(
    ("value", "shown"),
    [("160112.9100", "160112.91"), ("0", "0"), ("64045.164123456", "64045.1641"), ("1e30", "1e30"), ("-3", "-3")],
)
def test_amounts_are_short(value: str, shown: str) -> None:
    assert quantity(value) == shown


def test_both_ends_of_a_long_name_are_kept() -> None:
    assert shorten("0x1234567890abcdef", 10) == "0x1234…def"
    assert shorten("BTC", 10) == "BTC"
