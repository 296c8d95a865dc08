"""How routes describe themselves in the OpenAPI document: schemas of msgspec types, with examples.

@router.post("/customers:lookup", operation_id="lookup_customers",
             openapi_extra=takes(Lookup, {"ids": [7, 8]}),
             responses=gives(200, "The customers", Found, {"customers": []}))
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from orderworks_app.gateway.http.problems import MEDIA_TYPE, TYPES, FieldError

REFERENCE = "#/components/schemas/{name}"

Responses = dict[int | str, dict[str, Any]]

_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "What is wrong, as RFC 9457 has it; there may be more members.",
    "properties": {
        "type": {"type": "string", "examples": [f"{TYPES}invalid"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}},
    },
    "required": ["type", "title", "status", "detail"],
}

_components: dict[str, Any] = {"Problem": _PROBLEM}


def schema_of(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - any type that msgspec knows
    """The schema of a type; what it is made of goes among the document's components."""
    (schema,), components = msgspec.json.schema_components((kind,), ref_template=REFERENCE)
    for name, component in components.items():
        # The first sentence says it; the rest of a docstring is for readers of the code.
        text = component.get("description", "").partition("\n\n")[0]
        _components[name] = {**component, "description": text}
    return schema


def request_docs(
    kind: Any,  # noqa: ANN401 - likewise
    example: Any,  # noqa: ANN401 - any document
    media_type: str = "application/json",
    *,
    header: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body is of this kind, and that reads a header itself."""
    content = {media_type: {"schema": schema_of(kind), "example": example}}
    body = {"requestBody": {"required": True, "content": content}}
    return body | ({"parameters": [header]} if header else {})


IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same request under the same key is done once, and answered as the first time, "
    "for 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "example": "b3d9c2f4-order-42",
}
"""A header of routes that hand something over."""


def response_docs(
    status: int,
    description: str,
    kind: Any,  # noqa: ANN401 - likewise
    example: Any,  # noqa: ANN401 - likewise
    media_type: str = "application/json",
) -> Responses:
    """One of the `responses` of a route; join several by `|`."""
    content = {media_type: {"schema": schema_of(kind), "example": example}}
    return {status: {"description": description, "content": content}}


TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of `orderworks token create`; on the loopback, once there is one.",
}
"""What operations ask for whose paths begin with one of `TOKEN_PATHS`."""

TOKEN_PATHS = ("/v1/", "/metrics")

PROBLEM = {
    "description": "A problem; its `type` says which.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
"""Among the answers of every operation, in place of what FastAPI would answer itself."""

schema_of(FieldError)


def describe(app: FastAPI) -> Mapping[str, Any]:
    """The OpenAPI document of the application, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            tags=app.openapi_tags,
            routes=app.routes,
        )
        for path, operation in _operations(document):
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = PROBLEM
            if path.startswith(TOKEN_PATHS):
                operation["security"] = [{"token": []}]
        # Enums of parameters are FastAPI's; its errors are answered as problems.
        made = document.get("components", {}).get("schemas", {})
        enums = {name: schema for name, schema in made.items() if "enum" in schema}
        schemas = enums | _components
        document["components"] = {"schemas": schemas, "securitySchemes": {"token": TOKEN}}
        app.openapi_schema = document
    return app.openapi_schema


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All operations with their paths."""
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation
