"""Options of an import: spelled once, and completed from a preset and a parent."""

from inspect import Parameter, signature
from typing import Any

import pytest

from orderworks.core.errors import InvalidInput
from orderworks.imports.manifest import LoadOptions, Manifest
from orderworks_app.cli.imports import import_file
from orderworks_app.gateway.routes.files import ImportQuery
from orderworks_app.operations.import_choices import FileKind
from producer import Producer
from producer.imports.defaults import with_defaults
from producer.imports.options import (
    UNSTATED,
    ImportKeywords,
    ImportOptions,
    make_options,
    select_options,
)

FIELDS = {name: getattr(UNSTATED, name) for name in UNSTATED.__struct_fields__}


def defaults(function: Any) -> dict[str, Any]:  # noqa: ANN401 - any callable
    parameters = signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.name in FIELDS}


def test_import_file_has_a_parameter_for_each_option() -> None:
    keywords = signature(Producer.import_file).parameters.values()
    named = {each.name: each.default for each in keywords if each.kind is Parameter.KEYWORD_ONLY}
    assert named == FIELDS
    assert set(ImportKeywords.__annotations__) == set(FIELDS)


def test_import_file_refuses_an_unknown_keyword() -> None:
    with pytest.raises(TypeError, match="dryrun"):
        make_options({"dryrun": True})


def test_command_and_query_have_each_option() -> None:
    # Both have `map`, pairs of it. The command has no `keep`, as no command imports a kept file.
    assert defaults(import_file) == {
        name: value for name, value in FIELDS.items() if name not in ("mapping", "keep")
    }
    # These two are dependencies, which have no default of their own.
    assert {**defaults(ImportQuery), "mapping": None, "as_of": None} == FIELDS


def test_manifest_stores_the_options_that_workers_follow() -> None:
    assert Manifest.__struct_fields__[-8:] == LoadOptions.__struct_fields__


def test_options_are_selected_by_name_from_arguments() -> None:
    arguments = {"self": 1, "file": "a.csv", "kind": FileKind.CUSTOMERS, "strict": True}
    assert select_options(arguments) == ImportOptions(kind="customers", strict=True)
    assert select_options({"kind": ""}) == ImportOptions()
    with pytest.raises(InvalidInput, match="'order' cannot be imported"):
        select_options({"kind": "order"})


def test_stated_options_replace_those_of_preset_and_parent() -> None:
    preset = {"kind": "customers", "delimiter": ";", "mapping": {"id": "p", "name": "p"}}
    parent = {"kind": "orders", "create_customers": True, "mapping": {"email": "q", "name": "q"}}
    stated = ImportOptions(delimiter="|", mapping={"id": "s"}, dry_run=True)
    assert with_defaults(stated, preset, parent) == ImportOptions(
        kind="customers",
        delimiter="|",
        mapping={"id": "s", "name": "p", "email": "q"},
        create_customers=True,
        dry_run=True,
    )


def test_false_of_a_preset_replaces_true_of_the_parent() -> None:
    completed = with_defaults(
        ImportOptions(), {"create_customers": False}, {"create_customers": True}
    )
    assert not completed.create_customers


@pytest.mark.parametrize(
    ("stated", "preset"),
    [
        (ImportOptions(strict=True), {"max_rejects": 7}),
        (ImportOptions(max_rejects=0), {"strict": True}),
    ],
)
def test_strict_and_max_rejects_of_a_preset_give_way_to_the_stated_one(
    stated: ImportOptions, preset: dict[str, Any]
) -> None:
    assert with_defaults(stated, preset, {}) == ImportOptions(
        mapping={}, strict=stated.strict, max_rejects=stated.max_rejects
    )
