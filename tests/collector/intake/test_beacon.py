"""Forms that carry events: what `navigator.sendBeacon` can send without a header of its own."""

import base64
import json
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polku_collector.batch import Line
from polku_collector.intake.beacon import form_field, from_base64

from .world import GOOD, World, error

KEY = {"writeKey": "web-key"}
TEXT = json.dumps({"batch": [GOOD | {"event": "Grüße & Küsse +1"}]})
FORMS = {
    "JSON": urlencode({"data": TEXT}),
    "JSON with spaces in front": urlencode({"data": "  " + TEXT}),
    "base64": urlencode({"data": base64.b64encode(TEXT.encode()).decode()}),
    "base64, not escaped": "data=" + base64.b64encode(TEXT.encode()).decode(),
    "base64url without padding": "data=" + base64.urlsafe_b64encode(TEXT.encode()).decode().rstrip("="),
    "another field behind": urlencode({"data": TEXT, "v": "1"}),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_form_carries_a_batch_in_its_field_data(world: World, form: str) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded;charset=UTF-8"}
    answer = world.client.post("/v1/batch", params=KEY, content=form.encode(), headers=headers)
    assert (answer.status_code, answer.json()["accepted"]) == (200, 1)
    (line,) = world.taken()
    assert isinstance(line, Line)
    assert line.event_name == "Grüße & Küsse +1"


@pytest.mark.parametrize("form", ["data=", "data=§", "data=%7B", "data=AAAA", "data=A"])
def test_a_form_without_json_is_400(world: World, form: str) -> None:
    assert error(world.client.post("/v1/batch", params=KEY, content=form.encode())) == (400, "invalid_json")


def test_the_key_may_be_in_the_form_itself(world: World) -> None:
    form = urlencode({"data": json.dumps({"batch": [GOOD], "writeKey": "web-key"})})
    assert world.client.post("/v1/batch", content=form.encode()).status_code == 200


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(), st.booleans(), st.booleans())
def test_base64_is_read_in_either_alphabet_with_and_without_padding(raw: bytes, url: bool, padded: bool) -> None:
    text = base64.urlsafe_b64encode(raw) if url else base64.b64encode(raw)
    assert from_base64(text if padded else text.rstrip(b"=")) == raw


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.binary())
def test_what_is_no_form_is_left_alone(body: bytes) -> None:
    if not body.startswith(b"data="):
        assert form_field(body) is body
