"""The service against its own OpenAPI document: whatever a client sends, it is answered as told, and never with 500."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from depth import is_thorough
from fakes import make_result
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from service_fixtures import live

from indexing.server import Limits, create_app
from indexing.store import Store

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

THERE = {"person_id": 1, "video_id": 1, "key": 1, "frame": 0, "format": "frames"}
"""Parameters of which there is something."""

EXAMPLES = 6
"""Requests for each operation."""

COSTLY = {"/api/v1/recluster": 2, "/api/v1/calibrate": 2}
"""Requests for what starts a process each time, unless all is to be tried: their schemas are small."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("schema")
    with Store(folder / "a.db") as store:
        for name in ("a.mp4", "b.mp4", "c.mp4"):
            store.add_video(make_result(name, emotion_every=2))
        keys = [record.key for record in store.track_records()]
        store.assign([(None, keys[0::3]), (None, keys[1::3]), (None, keys[2::3])])
        store.rename(1, "Ada")
    limits = Limits(searches=1_000_000)
    with live(create_app(folder / "a.db", roots=[folder], limits=limits, page=False)) as told:
        yield told


def failures(operation: schemathesis.APIOperation) -> str:
    """Send an operation what it allows, of what is there and of what is not, and what it does not allow."""
    examples = EXAMPLES if is_thorough() else COSTLY.get(operation.full_path, EXAMPLES)
    there = {name: value for name, value in THERE.items() if f"{{{name}}}" in operation.path}
    cases = operation.as_strategy(path_parameters=there) if there else operation.as_strategy()

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases | operation.as_strategy() | operation.as_strategy(GenerationMode.NEGATIVE))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS, timeout=60)

    try:
        ask()
    except (Exception, BaseExceptionGroup) as error:
        return f"{operation.label}: {error}"
    return ""


def operations(address: str) -> list[schemathesis.APIOperation]:
    document = schemathesis.openapi.from_url(f"{address}/api/v1/openapi.json")
    # Streams of events end when a job does. What deletes comes last, as it takes from the others what is there.
    found = [result.ok() for result in document.exclude(path_regex="/events$").get_all_operations()]
    return sorted(found, key=lambda operation: operation.method.upper() == "DELETE")


def test_every_answer_is_one_that_the_document_tells_of(address: str) -> None:
    found = operations(address)
    assert len(found) > 40
    assert {operation.full_path for operation in found} >= set(COSTLY)
    assert [told for operation in found if (told := failures(operation))] == []


def test_a_server_error_is_found(tmp_path: Path) -> None:
    app = create_app(tmp_path / "a.db", page=False)

    @app.get("/broken/{number}")
    def broken(number: int) -> int:
        return 1 // (number - number)

    with live(app) as told:
        [operation] = [one for one in operations(told) if one.path == "/broken/{number}"]
        assert "500" in failures(operation)
