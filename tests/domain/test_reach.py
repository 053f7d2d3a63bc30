from collections import defaultdict
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.domain.reach import Pair, pairs_between, pairs_of, steps_between
from app.domain.values import Asset


def neighbours_of(*pairs: str) -> dict[Asset, set[Asset]]:
    """Read pairs written as two letters."""
    found: dict[Asset, set[Asset]] = defaultdict(set)
    for pair in pairs:
        first, second = Asset(pair[0]), Asset(pair[1])
        found[first].add(second)
        found[second].add(first)
    return dict(found)


def between(neighbours: dict[Asset, set[Asset]], most: int, ends: str = "AZ") -> set[str]:
    """Find pairs, written in alphabetical order."""
    return {"".join(sorted(pair)) for pair in pairs_between(neighbours, Asset(ends[0]), Asset(ends[1]), most)}


def test_a_pair_of_its_own_leads_nowhere_else() -> None:
    assert between(neighbours_of("AZ", "ZB", "ZC", "AD"), 4) == {"AZ"}


def test_ways_over_others_are_found_up_to_their_length() -> None:
    neighbours = neighbours_of("AZ", "AB", "BZ", "BC", "CZ")
    assert between(neighbours, 1) == {"AZ"}
    assert between(neighbours, 2) == {"AZ", "AB", "BZ"}
    assert between(neighbours, 3) == {"AZ", "AB", "BZ", "BC", "CZ"}


def test_what_hangs_on_a_hub_is_left_out() -> None:
    spokes = [f"H{spoke}" for spoke in "CDEFG"]
    assert between(neighbours_of("AH", "HZ", *spokes, "CD"), 20) == {"AH", "HZ"}


def test_unconnected_assets_have_nothing_between_them() -> None:
    neighbours = neighbours_of("AB", "YZ")
    assert between(neighbours, 20) == set()
    assert steps_between(neighbours, Asset("A"), Asset("Z")) is None
    assert between({}, 4) == set()


def test_steps_are_counted_to_the_longest_way_allowed() -> None:
    line = [chr(ord("a") + n) for n in range(23)]
    neighbours = neighbours_of(*("".join(pair) for pair in pairwise(line)))
    assert steps_between(neighbours, Asset("a"), Asset(line[20])) == 20
    assert steps_between(neighbours, Asset("a"), Asset(line[21])) is None
    assert len(between(neighbours, 20, "a" + line[20])) == 20


def test_a_pool_joins_each_two_of_its_assets() -> None:
    assert len(pairs_of([Asset("A"), Asset("B"), Asset("C")])) == 3


@given(st.sets(st.tuples(st.sampled_from("ABCDEZ"), st.sampled_from("ABCDEZ")), max_size=12), st.integers(1, 6))
def test_no_way_is_missed_and_nothing_unrelated_found(edges: set[tuple[str, str]], most: int) -> None:
    neighbours = neighbours_of(*("".join(edge) for edge in edges if edge[0] != edge[1]))
    found = pairs_between(neighbours, Asset("A"), Asset("Z"), most)
    assert walked(neighbours, most) <= found <= walked(neighbours, 6)


def walked(neighbours: dict[Asset, set[Asset]], most: int) -> frozenset[Pair]:
    """Walk every way between A and Z."""
    pairs: set[Pair] = set()

    def walk(way: list[Asset]) -> None:
        if way[-1] == "Z":
            pairs.update(frozenset(step) for step in pairwise(way))
        elif len(way) <= most:
            for there in neighbours.get(way[-1], ()):
                if there not in way:
                    walk([*way, there])

    walk([Asset("A")])
    return frozenset(pairs)
