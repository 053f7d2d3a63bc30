"""Run the HTTP application on uvicorn, and drain it when told to stop."""

import signal
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from app.bootstrap import open_services
from app.config import Settings
from app.main import create_app
from app.routers.socket import UNBLOCK
from app.services.collector import tune_collector

_DRAIN_WITHIN_S = 10
_LINGER_S = 3.0


class SocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket that ends even when its client reads nothing any more."""

    async def run_asgi(self) -> None:
        """Serve the socket; what the client has not taken in a while after the end is thrown away with it."""
        self.scope["extensions"][UNBLOCK] = {"call": self.writable.set}
        await super().run_asgi()
        self.loop.call_later(_LINGER_S, self.transport.abort)


class DrainingServer(uvicorn.Server):
    """Tells the application about a signal before the sockets close, so that probes and streams hear of it."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start draining; a second signal forces the end."""
        self._app.state.draining.set()
        if services := getattr(self._app.state, "services", None):
            services.streaming.let_go()
        super().handle_exit(signal.SIGTERM if sig == signal.SIGINT else sig, frame)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    app = create_app(settings, lambda given: open_services(given, "api"))
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws=SocketProtocol,
        ws_per_message_deflate=False,
        ws_max_size=1 << 20,
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=2048,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_DRAIN_WITHIN_S,
    )
    tune_collector()
    DrainingServer(config, app).run()
