"""Markets as venues and programs write them."""

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from app.domain.market import (
    Concentrated,
    ConstantProduct,
    Market,
    MarketStatus,
    OrderBook,
    Rfq,
    Stable,
    Tick,
    Weighted,
)
from app.domain.values import Amount, Asset, MarketId, Venue
from app.services.schemas.base import (
    AmountIn,
    AssetText,
    Count,
    DecimalText,
    Moment,
    NameText,
    Number,
    PositiveText,
    UnsignedText,
    Wire,
    example,
)

LevelIn = tuple[PositiveText, UnsignedText]
MAX_LEVELS = 1_000_000


class MarketIn(Wire):
    """What every kind of market states."""

    market_id: NameText
    venue: NameText
    status: Literal["trading", "halted"] = "trading"
    fee_bps: Number = Field(ge=0, lt=10_000)
    sequence: Count | None = Field(None, ge=0, lt=1 << 63)
    fixed_cost: AmountIn | None = None

    def _common(self) -> dict[str, Any]:
        cost = self.fixed_cost
        return {
            "market_id": MarketId(self.market_id),
            "venue": Venue(self.venue),
            "fee_bps": Decimal(repr(self.fee_bps)),
            "status": MarketStatus(self.status),
            "sequence": self.sequence,
            "fixed_cost": Amount(Asset(cost.asset), Decimal(cost.amount)) if cost else None,
        }


class OrderBookIn(MarketIn):
    """Bids and asks, best first."""

    model_config = example(
        {
            "market_id": "kraken:BTC-USD", "venue": "kraken", "kind": "order_book", "fee_bps": 2.5, "sequence": 7,
            "base": "BTC", "quote": "USD", "bids": [["64000", "1.5"], ["63990", "4"]],
            "asks": [["64010", "2"], ["64020", "5"]], "tick_size": "0.5", "lot_size": "0.0001",
        }
    )  # fmt: skip

    kind: Literal["order_book"] = "order_book"
    base: AssetText
    quote: AssetText
    bids: tuple[LevelIn, ...] = Field(max_length=MAX_LEVELS)
    asks: tuple[LevelIn, ...] = Field(max_length=MAX_LEVELS)
    tick_size: PositiveText | None = None
    lot_size: PositiveText | None = None
    min_quantity: UnsignedText | None = None
    min_notional: UnsignedText | None = None

    def to_domain(self) -> OrderBook:
        """Turn the message into the domain's order book, levels sorted best first, empty ones dropped."""
        if self.base == self.quote:
            raise ValueError("base and quote are the same asset")
        bids = sorted(_levels(self.bids), key=lambda level: -level[0])
        asks = sorted(_levels(self.asks), key=lambda level: level[0])
        if bids and asks and bids[0][0] >= asks[0][0]:
            raise ValueError(f"the book is crossed: best bid {bids[0][0]} is not below best ask {asks[0][0]}")
        return OrderBook(
            **self._common(),
            base=Asset(self.base),
            quote=Asset(self.quote),
            bids=tuple(bids),
            asks=tuple(asks),
            tick_size=_optional(self.tick_size),
            lot_size=_optional(self.lot_size),
            min_quantity=_optional(self.min_quantity),
            min_notional=_optional(self.min_notional),
        )


class ReservesIn(MarketIn):
    """A pool's reserves by asset."""

    reserves: dict[AssetText, PositiveText] = Field(min_length=2, max_length=8)

    def _reserves(self) -> dict[Asset, Decimal]:
        return {Asset(asset): Decimal(amount) for asset, amount in self.reserves.items()}


class ConstantProductIn(ReservesIn):
    """Two reserves whose product never falls."""

    model_config = example(
        {
            "market_id": "uni-v2:BTC-USD", "venue": "uni-v2", "kind": "constant_product", "fee_bps": 30,
            "reserves": {"BTC": "150", "USD": "9600000"},
        }
    )  # fmt: skip

    kind: Literal["constant_product"] = "constant_product"
    reserves: dict[AssetText, PositiveText] = Field(min_length=2, max_length=2)

    def to_domain(self) -> ConstantProduct:
        """Turn the message into the domain's pool."""
        return ConstantProduct(**self._common(), reserves=self._reserves())


class WeightedIn(ReservesIn):
    """Two to eight reserves with relative weights."""

    kind: Literal["weighted"] = "weighted"
    weights: dict[AssetText, PositiveText]

    @model_validator(mode="after")
    def match_assets(self) -> Self:
        """Refuse weights of other assets than the reserves."""
        if set(self.weights) != set(self.reserves):
            raise ValueError("weights and reserves must name the same assets")
        return self

    def to_domain(self) -> Weighted:
        """Turn the message into the domain's pool."""
        weights = {Asset(asset): Decimal(weight) for asset, weight in self.weights.items()}
        return Weighted(**self._common(), reserves=self._reserves(), weights=weights)


class StableIn(ReservesIn):
    """StableSwap over two to eight reserves."""

    kind: Literal["stable"] = "stable"
    amplification: PositiveText
    rates: dict[AssetText, PositiveText] | None = None

    @model_validator(mode="after")
    def match_assets(self) -> Self:
        """Refuse rates of other assets than the reserves."""
        if self.rates is not None and not set(self.rates) <= set(self.reserves):
            raise ValueError("rates name an asset that has no reserve")
        return self

    def to_domain(self) -> Stable:
        """Turn the message into the domain's pool; a rate that is not given is one."""
        given = self.rates or {}
        rates = {Asset(asset): Decimal(given.get(asset, "1")) for asset in self.reserves}
        return Stable(
            **self._common(), reserves=self._reserves(), amplification=Decimal(self.amplification), rates=rates
        )


class TickIn(Wire):
    """A boundary and the liquidity that enters there, going up."""

    index: Count = Field(ge=-887_272, le=887_272)
    liquidity_net: DecimalText


class ConcentratedIn(MarketIn):
    """Liquidity in price ranges."""

    kind: Literal["concentrated"] = "concentrated"
    asset0: AssetText
    asset1: AssetText
    sqrt_price: PositiveText
    liquidity: UnsignedText
    ticks: tuple[TickIn, ...] = Field(max_length=MAX_LEVELS)

    def to_domain(self) -> Concentrated:
        """Turn the message into the domain's pool, boundaries sorted."""
        if self.asset0 == self.asset1:
            raise ValueError("asset0 and asset1 are the same asset")
        ticks = sorted(self.ticks, key=lambda tick: tick.index)
        return Concentrated(
            **self._common(),
            asset0=Asset(self.asset0),
            asset1=Asset(self.asset1),
            sqrt_price=Decimal(self.sqrt_price),
            liquidity=Decimal(self.liquidity),
            ticks=tuple(Tick(tick.index, Decimal(tick.liquidity_net)) for tick in ticks),
        )


class RfqIn(MarketIn):
    """A maker's firm quote."""

    kind: Literal["rfq"] = "rfq"
    gives: AssetText
    takes: AssetText
    price: PositiveText
    max_size: PositiveText
    expires_at: Moment

    def to_domain(self) -> Rfq:
        """Turn the message into the domain's quote."""
        if self.gives == self.takes:
            raise ValueError("gives and takes are the same asset")
        return Rfq(
            **self._common(),
            gives=Asset(self.gives),
            takes=Asset(self.takes),
            price=Decimal(self.price),
            max_size=Decimal(self.max_size),
            expires_at=self.expires_at,
        )


AnyMarketIn = Annotated[
    OrderBookIn | ConstantProductIn | WeightedIn | StableIn | ConcentratedIn | RfqIn, Field(discriminator="kind")
]
MARKET: TypeAdapter[AnyMarketIn] = TypeAdapter(AnyMarketIn)


class AssetIn(Wire):
    """What is known of an asset."""

    decimals: Count = Field(ge=0, le=36)


class MarketsIn(Wire):
    """A batch of markets, or a whole snapshot."""

    model_config = example(
        {
            "markets": [
                {
                    "market_id": "uni-v2:WETH-USDC", "venue": "uni-v2", "kind": "constant_product", "fee_bps": 30,
                    "reserves": {"WETH": "12000", "USDC": "38000000"},
                }
            ],
            "assets": {"WETH": {"decimals": 18}, "USDC": {"decimals": 6}},
        }
    )  # fmt: skip

    as_of: Moment | None = None
    markets: tuple[AnyMarketIn, ...] = Field(max_length=100_000)
    assets: dict[AssetText, AssetIn] = Field(default_factory=dict)


def read_market(document: str | bytes) -> Market:
    """Read a market from stored JSON that was checked when it came in."""
    return MARKET.validate_json(document).to_domain()


def _levels(levels: tuple[LevelIn, ...]) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(price), Decimal(size)) for price, size in levels if size.strip("0.") or "e" in size.lower()]


def _optional(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)
