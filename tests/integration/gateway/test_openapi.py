"""The gateway conforms to its OpenAPI document, for requests that are generated from it."""

from typing import Any

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

EXAMPLES = 12
"""Valid requests for each operation, and the same number of invalid ones; equal in each run."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

STREAM = "text/event-stream"


@schemathesis.serializer("application/x-ndjson")
def one_line(_context: object, value: object) -> bytes:
    """A body of one line: the document's schema of such a body is that of a line."""
    return msgspec.json.encode(value) + b"\n"


@pytest.fixture
def api(gateway: str) -> schemathesis.BaseSchema:
    """The document of the gateway, without streams of events, which do not end."""
    return schemathesis.openapi.from_url(f"{gateway}/openapi.json").exclude(
        lambda context: STREAM in str(context.operation.definition.raw)
    )


@pytest.mark.slow
def test_generated_requests_cause_no_unhandled_error(api: schemathesis.BaseSchema) -> None:
    for result in api.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        try_out(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
        if {"parameters", "requestBody"} & set(operation.definition.raw):
            try_out(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))


def try_out(cases: SearchStrategy[Any]) -> None:
    """Send generated requests, and check each response against the document."""

    @given(case=cases)
    @hypothesis_settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case: schemathesis.Case[Any]) -> None:
        case.query.pop("wait", None)  # A wait that is allowed may take half a minute.
        case.call_and_validate(checks=CHECKS, timeout=20)

    check()


def test_every_operation_has_name_tag_and_response_example(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["operationId"], where
            assert operation["tags"], where
            assert operation["description"], where
            answers = [each for status, each in operation["responses"].items() if status < "3"]
            contents = [one for each in answers for one in each.get("content", {}).values()]
            assert contents, where
            assert all("example" in content for content in contents), where


def test_documentation_page_names_every_operation_and_loads_no_external_resource(
    http: httpx.Client,
) -> None:
    page = http.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    for path in http.get("/openapi.json").json()["paths"]:
        assert path in page.text
    assert "src=" not in page.text
    assert "//" not in page.text.replace("<!doctype html>", "")
