"""Where the service is and which key opens it."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from app.client.errors import MissingCredentials

DATA_DIR_VARIABLE = "SOLVER_DATA_DIR"
DEFAULT_DATA_DIR = Path(".solver")
FILE_NAME = "credentials.json"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The URL of a service and a key for it."""

    url: str
    key: str = field(repr=False)


def find_credentials(data_dir: Path | str | None = None) -> Credentials:
    """Read credentials.json of a data directory: the given one, SOLVER_DATA_DIR or ./.solver.

    Raises MissingCredentials saying where it looked.
    """
    directory = Path(data_dir or os.environ.get(DATA_DIR_VARIABLE) or DEFAULT_DATA_DIR).expanduser()
    file = directory / FILE_NAME
    try:
        content = json.loads(file.read_text())
        return Credentials(str(content["url"]).rstrip("/"), str(content["key"]))
    except FileNotFoundError:
        raise MissingCredentials(f"there is no {file}; pass url and key, or start the service") from None
    except OSError as error:
        raise MissingCredentials(f"{file} cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise MissingCredentials(f'{file} does not hold {{"url": …, "key": …}}; delete it and start again') from error
