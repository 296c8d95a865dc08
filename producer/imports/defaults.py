"""Options that the caller did not state: their values come from a preset, or from the parent import."""

from collections.abc import Mapping
from typing import Any

import msgspec

from orderworks.core.errors import InvalidInput
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.imports.columns import CUSTOMER_NAME, PARENT_LINE
from orderworks.imports.progress import Summary
from producer.imports.job import ImportJob
from producer.imports.options import ImportOptions, require_kind, stated_values
from producer.imports.presets import read_preset

Values = Mapping[str, Any]
"""Values of some fields of `ImportOptions`, by their names."""


def complete_options(options: ImportOptions, settings: Settings, stream: Redis) -> ImportOptions:
    """Return the options with the values of their preset and parent where they state none.

    Raises:
        ConfigurationError: there is no such preset, or it is wrong.
        InvalidInput: the parent is unknown, and options that it would have given are not stated.
        Unavailable: Redis did not answer.
    """
    preset = read_preset(settings.import_presets, options.preset) if options.preset else {}
    if options.parent is None:
        return with_defaults(options, preset, {})
    # The sheet has commas, or what a spreadsheet made of them, whatever the preset's files have.
    preset = {name: value for name, value in preset.items() if name != "delimiter"}
    parent = ImportJob(options.parent, stream).progress()
    if parent is None:
        _require_reading_options(options, preset)
        return with_defaults(options, preset, {})
    return with_defaults(options, preset, _values_of_parent(parent))


def with_defaults(options: ImportOptions, preset: Values, parent: Values) -> ImportOptions:
    """Return the options, with the preset's values, then the parent's, where they state none."""
    stated = stated_values(options)
    if options.strict or options.max_rejects is not None:
        # They exclude each other: the caller's one replaces the preset's, whichever that is.
        preset = {name: preset[name] for name in preset.keys() - {"strict", "max_rejects"}}
    mapping: dict[str, str] = {}
    for values in (parent, preset, stated):
        mapping |= values.get("mapping", {})
    return msgspec.structs.replace(options, **{**parent, **preset, **stated, "mapping": mapping})


def _values_of_parent(parent: Summary) -> Values:
    """How the parent's file was read: corrected rejects are read in the same way."""
    mapping = {name: source for name, source in parent["mapping"].items() if name != PARENT_LINE}
    return {
        "kind": require_kind(parent["kind"]),
        "mapping": mapping,
        "create_customers": parent.get("create_customers", CUSTOMER_NAME in mapping),
    }


def _require_reading_options(options: ImportOptions, preset: Values) -> None:
    """Raise InvalidInput if nothing tells how rejects of a parent that is not known are to be read."""
    if not {"kind", "mapping"} <= {**preset, **stated_values(options)}.keys():
        raise InvalidInput(
            f"parent: how import {options.parent} was read is not known here any more; give its kind "
            "and its mapping ({} if it had none)"
        )
