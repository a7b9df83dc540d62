from __future__ import annotations

import base64
import io
import time

import numpy as np
import pytest
from PIL import Image

from mindseye.errors import MindseyeError, ModelError
from mindseye.imagination.building import Asker, Endpoint, Request, Unanswered
from tests.imagination.building.serving import serving

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def test_pictures_travel_as_data_uris_and_tokens_are_counted() -> None:
    with serving(lambda text, n: "A red cell.") as served:
        reply = Endpoint("m", served.url).ask(Request("What?", (PIXELS, PIXELS), 9))
    assert (reply.text, reply.tokens_in, reply.tokens_out, reply.tries) == ("A red cell.", 7, 3, 1)
    body = served.bodies[0]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 9, 0.0)
    first, second, words = body["messages"][0]["content"]
    assert words == {"type": "text", "text": "What?"}
    assert first == second
    scheme, data = first["image_url"]["url"].split(",")
    assert scheme == "data:image/png;base64"
    sent = Image.open(io.BytesIO(base64.b64decode(data)))
    np.testing.assert_array_equal(np.asarray(sent), PIXELS)


@pytest.mark.usefixtures("short_waits")
def test_statuses_are_tried_again_with_growing_waits() -> None:
    with serving(lambda text, n: [429, 500, 503, 500, "fine"][n - 1]) as served:
        reply = Endpoint("m", served.url, max_retries=4).ask(Request("What?"))
    assert (reply.text, reply.tries) == ("fine", 5)
    waits = np.diff(served.times)
    # Each is up to twice the last, less up to a quarter by jitter.
    assert waits[-1] > 2 * waits[0]
    assert waits[-1] > 0.02 * 8 * 0.75


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize(
    ("behaviour", "reason", "tries"),
    [(1.0, "timeout", 3), (500, "status 500", 3), (400, "status 400", 1)],
)
def test_what_is_never_answered_says_why(behaviour: float | int, reason: str, tries: int) -> None:
    with serving(lambda text, n: behaviour) as served:
        endpoint = Endpoint("m", served.url, timeout=0.15, max_retries=2)
        with pytest.raises(Unanswered, match=reason) as caught:
            endpoint.ask(Request("What?"))
        assert len(served.asked) == caught.value.tries == tries


@pytest.mark.usefixtures("short_waits")
def test_a_server_that_is_gone_is_no_connection() -> None:
    with serving() as served:
        endpoint = Endpoint("m", served.url, max_retries=1)
    with pytest.raises(Unanswered, match="no connection"):
        endpoint.ask(Request("What?"))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_stops_at_once(status: int) -> None:
    with (
        serving(lambda text, n: status) as served,
        pytest.raises(ModelError, match=r"does not serve 'm' to us.*Check the model's name"),
    ):
        Endpoint("m", served.url).ask(Request("What?"))
    assert len(served.asked) == 1


def test_the_key_comes_from_the_environment_and_stays_out_of_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret")
    with serving() as served:
        endpoint = Endpoint("m", served.url, key_variable="MY_KEY")
        endpoint.ask(Request("question: What?"))
    assert served.headers[0]["authorization"] == "Bearer s3cret"
    assert "s3cret" not in endpoint.name
    assert isinstance(endpoint, Asker)


def test_openai_itself_is_not_asked_without_a_key() -> None:
    with pytest.raises(MindseyeError, match="OPENAI_API_KEY is not set"):
        Endpoint("m")


def test_requests_run_at_the_same_time() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with serving(lambda text, n: 0.2) as served, ThreadPoolExecutor(6) as pool:
        endpoint = Endpoint("m", served.url)
        began = time.monotonic()
        list(pool.map(endpoint.ask, [Request(f"question: {i}") for i in range(6)]))
        assert time.monotonic() - began < 0.9
