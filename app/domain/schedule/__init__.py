"""How a trade is spread over time: pure mathematics, without markets."""
