"""A Flask application that gunicorn loads: `gunicorn tests.sdk.middleware.flask_app:app`."""

import time

import flask

import polku
from polku.middleware.wsgi import PolkuMiddleware

app = flask.Flask(__name__)


@app.before_request
def sign_in() -> None:
    polku.bind(user_id=flask.request.headers.get("X-User"))


@app.get("/o/<int:number>")
def order(number: int) -> str:
    time.sleep(0.001)  # let others in
    polku.track("seen", {"number": number})
    return "ok"


app.wsgi_app = PolkuMiddleware(app.wsgi_app, track_requests=True)  # type: ignore[method-assign]
