"""`/docs`: the operations of the gateway, as a page that loads no other file."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Orderworks: the HTTP interface</title>
</head>
<body>
<main>
<h1>Orderworks: the HTTP interface</h1>
<p>For programs: <a href="/openapi.json">openapi.json</a>. Errors are documents of the type
<code>application/problem+json</code>.</p>
{operations}
</main>
</body>
</html>
"""


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Return the operations of the OpenAPI document, one after another."""
    document = request.app.openapi()
    operations = (
        _operation(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    return HTMLResponse(PAGE.format(operations="\n".join(operations)))


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    name = operation["operationId"]
    parts = [
        f'<section id="{escape(name)}">',
        f"<h2><code>{method.upper()} {escape(path)}</code></h2>",
        *(f"<p>{escape(text)}</p>" for text in operation.get("description", "").split("\n\n")),
        *_parameters(operation.get("parameters", [])),
        *_examples("Body", operation.get("requestBody", {})),
    ]
    for status, response in operation["responses"].items():
        if status != "default":
            parts += _examples(f"{status}: {response['description']}", response)
    return "\n".join([*parts, "</section>"])


def _parameters(parameters: list[Mapping[str, Any]]) -> Iterator[str]:
    if parameters:
        yield "<dl>"
        for each in parameters:
            yield f"<dt><code>{escape(each['name'])}</code> ({escape(each['in'])})</dt>"
            yield f"<dd>{escape(each.get('description', ''))}</dd>"
        yield "</dl>"


def _examples(title: str, body: Mapping[str, Any]) -> Iterator[str]:
    for media_type, content in body.get("content", {}).items():
        if "example" in content:
            example = content["example"]
            text = example if isinstance(example, str) else json.dumps(example, indent=2)
            yield f"<p>{escape(title)} (<code>{escape(media_type)}</code>)</p>"
            yield f"<pre>{escape(text)}</pre>"
