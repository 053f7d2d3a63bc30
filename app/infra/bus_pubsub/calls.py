"""How Pub/Sub is reached, and what its errors mean."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
import tenacity
from google.api_core import exceptions as google_errors
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from app.domain.errors import Invalid, SolverError, Unavailable

Result = TypeVar("Result")

CALL_TIMEOUT_S = 10.0
_LONGEST_WAIT_S = 2.0
VENDOR_ERRORS = (google_errors.GoogleAPIError, GoogleAuthError, grpc.RpcError)
_REFUSALS = (google_errors.InvalidArgument, google_errors.OutOfRange)

# gRPC by itself retries a lost connection ever more rarely, up to every two minutes; and it never notices one that
# is dead without having been closed.
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]


def open_channel(emulator_host: str | None) -> grpc.aio.Channel:
    """Connect to the emulator, or to Google with the credentials of the environment."""
    if emulator_host is not None:
        return grpc.aio.insecure_channel(emulator_host, options=[*_CHANNEL_OPTIONS, ("grpc.enable_http_proxy", 0)])
    host = PublisherAsyncClient.DEFAULT_ENDPOINT + ":443"
    return PublisherGrpcAsyncIOTransport.create_channel(host, options=_CHANNEL_OPTIONS)


def open_clients(channel: grpc.aio.Channel) -> tuple[PublisherAsyncClient, SubscriberAsyncClient]:
    """Make both clients over one channel."""
    publisher = PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel))
    subscriber = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
    return publisher, subscriber


def translated(error: Exception, doing: str) -> SolverError:
    """Say in our own terms what a vendor error means: everything but a refused request may pass with time."""
    if isinstance(error, _REFUSALS):
        return Invalid(f"Pub/Sub refused to {doing}: {error}")
    return Unavailable(f"Pub/Sub could not {doing}: {error}")


async def insist(call: Callable[[], Awaitable[Result]], *, attempts: int) -> Result:
    """Repeat a call that does no harm twice while Pub/Sub is unavailable; the last error is the vendor's."""
    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_may_pass),
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=_LONGEST_WAIT_S),
        reraise=True,
    )
    return await retrying(call)


def _may_pass(error: BaseException) -> bool:
    return isinstance(
        error,
        (
            google_errors.ServiceUnavailable,
            google_errors.DeadlineExceeded,
            google_errors.InternalServerError,
            google_errors.TooManyRequests,
            google_errors.Aborted,
            google_errors.Unknown,
        ),
    )
