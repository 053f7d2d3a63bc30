"""The HTTP application."""

from fastapi import FastAPI

from app.config import Settings
from app.routers import (
    candles,
    feature_sets,
    features,
    jobs,
    markets,
    metrics,
    prices,
    quotes,
    routes,
    solve,
    stream,
)
from app.routers.edge import ServicesFactory, assemble

ROUTERS = (
    quotes.router,
    routes.router,
    stream.router,
    solve.router,
    markets.router,
    prices.router,
    candles.router,
    features.router,
    feature_sets.router,
    metrics.router,
    jobs.router,
)
"""In the order of their traffic."""


def create_app(settings: Settings, services_factory: ServicesFactory) -> FastAPI:
    """Build the application; nothing is opened before it starts."""
    return assemble(settings, services_factory, ROUTERS)
