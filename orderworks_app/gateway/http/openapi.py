"""The OpenAPI document: schemas of msgspec types, with examples, as routes declare them.

@router.post("/customers:lookup", operation_id="lookup_customers",
             openapi_extra=request_docs(Lookup, {"ids": [7, 8]}),
             responses=response_docs(200, "The customers", Found, {"customers": []}))
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from orderworks_app.gateway.http.ids import ID_MEMBERS
from orderworks_app.gateway.http.problems import MEDIA_TYPE, TYPES, FieldError

REFERENCE = "#/components/schemas/{name}"

Responses = dict[int | str, dict[str, Any]]

_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "A problem as in RFC 9457; it may have further members.",
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
    """Return the schema of a type, and add the types it consists of to the document's components."""
    (schema,), components = msgspec.json.schema_components((kind,), ref_template=REFERENCE)
    for name, component in components.items():
        # The first paragraph of a docstring is for clients; the rest is for readers of the code.
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
    """Return the `openapi_extra` of a route: the type of its body, and a header that it reads."""
    content = {media_type: {"schema": schema_of(kind), "example": example}}
    body = {"requestBody": {"required": True, "content": content}}
    return body | ({"parameters": [header]} if header else {})


IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "For 24 hours, a repeated request with the same key is done once and gets the first "
    "response again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "example": "b3d9c2f4-order-42",
}
"""A header of routes that accept updates or files."""


def response_docs(
    status: int,
    description: str,
    kind: Any,  # noqa: ANN401 - likewise
    example: Any,  # noqa: ANN401 - likewise
    media_type: str = "application/json",
) -> Responses:
    """Return one of the `responses` of a route; join several by `|`."""
    content = {media_type: {"schema": schema_of(kind), "example": example}}
    return {status: {"description": description, "content": content}}


TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of `orderworks token create`. On the loopback it is optional until one "
    "is created.",
}
"""The security scheme of operations whose paths begin with one of `TOKEN_PATHS`."""

TOKEN_PATHS = ("/v1/", "/metrics")

PROBLEM = {
    "description": "A problem, identified by its `type`.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
"""A response of every operation, in place of FastAPI's own error responses."""

schema_of(FieldError)


def describe(app: FastAPI) -> Mapping[str, Any]:
    """Return the OpenAPI document of the application, which is built once."""
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
        # Of FastAPI's schemas only the enums of parameters are used; its errors become problems.
        generated = document.get("components", {}).get("schemas", {})
        enums = {name: schema for name, schema in generated.items() if "enum" in schema}
        schemas = enums | {name: _with_text_ids(each) for name, each in _components.items()}
        document["components"] = {"schemas": schemas, "securitySchemes": {"token": TOKEN}}
        app.openapi_schema = document
    return app.openapi_schema


TEXT_ID = {"type": "string", "pattern": "^(0|[1-9][0-9]{0,18})$"}
"""The other form of ids: accepted in bodies, and returned where the query requests it."""


def _with_text_ids(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of an object whose integer ids may be text."""
    properties = {
        name: _or_text(each) if name in ID_MEMBERS else each
        for name, each in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties} if properties else schema


def _or_text(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "items" in schema:
        return {**schema, "items": _or_text(schema["items"])}
    options = schema.get("anyOf", [schema])
    if all(each.get("type") != "integer" for each in options):
        # Null, or a list.
        return {**schema, "anyOf": [*map(_or_text, options)]} if "anyOf" in schema else schema
    others = {name: each for name, each in schema.items() if name in ("default", "description")}
    kept = [each for each in options if each.get("type") != "string"]
    return {**others, "anyOf": [*kept, TEXT_ID]}


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all operations with their paths."""
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation
