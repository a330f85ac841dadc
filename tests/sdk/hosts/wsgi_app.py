"""A WSGI application whose client is made, and used, when it is loaded."""

import os
from typing import Any

import polku

client = polku.Client("k", os.environ["URL"], batch_age_seconds=60.0)
client.track("loaded", user_id="app")


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    client.track("seen", {"n": int(environ["PATH_INFO"].strip("/") or -1)}, user_id="u")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
