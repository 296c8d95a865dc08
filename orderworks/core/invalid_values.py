"""Sentences for values that pydantic or msgspec refuses, in our own words."""

import re
from collections.abc import Mapping
from typing import Any

KINDS = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of usual size",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
}
"""Types of errors, and what the value should have been."""

BOUNDS = {
    "greater_than_equal": ("ge", "is less than {}, the minimum"),
    "less_than_equal": ("le", "is more than {}, the maximum"),
    "greater_than": ("gt", "is not more than {}"),
    "less_than": ("lt", "is not less than {}"),
}
"""Types of errors, the name of the limit in the error, and the sentence about it."""


def describe(error: Mapping[str, Any]) -> str:
    """Return what is wrong with the value of an error of pydantic's `ValidationError.errors()`."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind in KINDS:
        return f"{value!r} is not {KINDS[kind]}"
    if kind in BOUNDS:
        name, sentence = BOUNDS[kind]
        return f"{value!r} {sentence.format(context[name])}"
    if kind == "value_error":
        return str(context["error"])
    return str(error["msg"])


JSON_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "null": "null",
    "object": "an object",
    "array": "a list",
}
"""Types of JSON as msgspec names them, and as our sentences do."""

_WRONG_TYPE = re.compile("Expected `(?P<expected>[^`]+)`, got `(?P<found>[^`]+)`")
_UNKNOWN_FIELD = re.compile("Object contains unknown field `(?P<field>.*)`")
_MISSING_FIELD = re.compile("Object missing required field `(?P<field>.*)`")


def describe_json(problem: str) -> str:
    """Return msgspec's message about a document, without its path, in our words."""
    if wrong := _WRONG_TYPE.fullmatch(problem):
        return f"is {_types(wrong['found'])}, not {_types(wrong['expected'])}"
    if unknown := _UNKNOWN_FIELD.fullmatch(problem):
        return f"has an unknown field {unknown['field']!r}"
    if missing := _MISSING_FIELD.fullmatch(problem):
        return f"lacks the field {missing['field']!r}"
    return problem


def _types(names: str) -> str:
    return " or ".join(JSON_TYPES.get(name, name) for name in names.split(" | "))
