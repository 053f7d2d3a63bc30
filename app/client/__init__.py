"""The Python SDK: a client of a running service, asynchronous or not."""

from app.client.client import SolverClient
from app.client.credentials import Credentials, find_credentials
from app.client.errors import MissingCredentials, SolverApiError, SolverClientError, SolverUnreachable
from app.client.retrying import Retrying
from app.client.stream import Position, RouteChange, RouteWatch
from app.client.sync import SyncSolverClient

__all__ = [
    "Credentials",
    "MissingCredentials",
    "Position",
    "Retrying",
    "RouteChange",
    "RouteWatch",
    "SolverApiError",
    "SolverClient",
    "SolverClientError",
    "SolverUnreachable",
    "SyncSolverClient",
    "find_credentials",
]
