"""The limits on the client library's session, asked with its own retries in between."""

from collections.abc import Iterator

import pytest
from huggingface_hub import close_session, get_session, set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import _http as library
from huggingface_hub.utils import http_backoff

from hftune.hub.session import bound_session
from tests.hub.scripted import Answer, scripted


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    set_client_factory(library.default_client_factory)


def hooks() -> tuple[int, int]:
    found = get_session().event_hooks
    return len(found["request"]), len(found["response"])


def test_limits_are_put_on_once() -> None:
    bound_session(silence=1, pause=1)
    first = hooks()
    bound_session(silence=2, pause=2)
    assert hooks() == first


def test_session_that_the_library_makes_anew_is_bounded_too() -> None:
    """It closes its session after a refused connection, between two tries of its own."""
    bound_session(silence=1, pause=1)
    first = hooks()
    close_session()
    assert hooks() == first


def test_factory_of_the_user_stays() -> None:
    kind = type(get_session())
    set_client_factory(lambda: kind(headers={"x-own": "yes"}))
    bound_session(silence=1, pause=1)
    assert get_session().headers["x-own"] == "yes"
    close_session()
    assert get_session().headers["x-own"] == "yes"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_library_does_not_sleep_an_hour(status: int) -> None:
    bound_session(silence=5, pause=2)
    with scripted(Answer(status, headers={"Retry-After": "3600"})) as script:
        with pytest.raises(HfHubHTTPError) as caught:
            http_backoff("GET", script.endpoint)
        assert script.requests == 1
    assert caught.value.response.status_code == status


def test_library_goes_on_after_a_short_wait() -> None:
    bound_session(silence=5, pause=2)
    with scripted(Answer(503, headers={"Retry-After": "0"}), Answer()) as script:
        assert http_backoff("GET", script.endpoint).status_code == 200


@pytest.mark.parametrize("given", [None, 60.0])
def test_silence_is_bounded_whatever_a_request_asks(given: float | None) -> None:
    """Some requests of the library say outright that they have no limit, some a long one."""
    bound_session(silence=0.2, pause=1)
    with scripted(Answer(silent_seconds=3)) as script, pytest.raises(Exception, match="timed out"):
        get_session().get(script.endpoint, timeout=given)


def test_shorter_limit_of_the_library_stays() -> None:
    bound_session(silence=60, pause=1)
    with scripted(Answer(silent_seconds=3)) as script, pytest.raises(Exception, match="timed out"):
        get_session().get(script.endpoint, timeout=0.1)
