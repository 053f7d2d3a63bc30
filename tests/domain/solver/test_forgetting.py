import gc
import weakref

from app.domain.solver import Problem, forget, prepare, solve
from app.services.schemas.market import MARKET
from app.services.schemas.trade import read_trade
from tests.factories import book, trade


def test_markets_that_are_forgotten_are_let_go() -> None:
    listed = [MARKET.validate_python(each).to_domain() for each in (book(), book("b:1", quote="USDC"))]
    markets = tuple(each for each in map(prepare, listed) if each is not None)
    solve(Problem(read_trade(trade()).to_domain(), markets))
    held = weakref.ref(markets[0])
    forget(markets)
    del markets
    gc.collect()
    assert held() is None
