"""A Celery application whose client is made, and used, before the workers are forked."""

import os
from typing import Any

import celery

import polku

folder = os.environ["BROKER"]
app = celery.Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": f"{folder}/queue",
    "data_folder_out": f"{folder}/queue",
    "control_folder": f"{folder}/control",
}
# A batch that waits for its age would come after the end.
client = polku.Client("k", os.environ["URL"], batch_age_seconds=60.0)
client.track("loaded", user_id="app")


@app.task  # type: ignore[untyped-decorator]  # Celery has no types
def work(number: int) -> Any:
    client.track("worked", {"n": number}, user_id="u")
