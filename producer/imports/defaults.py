"""Values for options that the caller did not state, from a preset or from the parent import."""

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
    """Return the options with values of their preset and their parent for those that are not stated.

    Raises:
        ConfigurationError: there is no such preset, or it is invalid.
        InvalidInput: the parent is not known, and an option that depends on it is not stated.
        Unavailable: Redis did not answer.
    """
    preset = read_preset(settings.import_presets, options.preset) if options.preset else {}
    if options.parent is None:
        return with_defaults(options, preset, {})
    # Corrected rejects have the delimiter that `rejects` or a spreadsheet wrote, not the preset's, and
    # the versions of the parent's rows.
    unfit = {"delimiter", "as_of"}
    preset = {name: value for name, value in preset.items() if name not in unfit}
    parent = ImportJob(options.parent, stream).progress()
    if parent is None:
        _require_reading_options(options, preset)
        return with_defaults(options, preset, {})
    return with_defaults(options, preset, _values_of_parent(parent))


def with_defaults(options: ImportOptions, preset: Values, parent: Values) -> ImportOptions:
    """Return the options; those not stated have the preset's values, else the parent's.

    The mapping has the columns of all three; a column is mapped as the first of them maps it.
    """
    stated = stated_values(options)
    if options.strict or options.max_rejects is not None:
        # The two exclude each other, so the stated one also replaces the other one of a preset.
        preset = {name: preset[name] for name in preset.keys() - {"strict", "max_rejects"}}
    mapping: dict[str, str] = {}
    for values in (parent, preset, stated):
        mapping |= values.get("mapping", {})
    return msgspec.structs.replace(options, **{**parent, **preset, **stated, "mapping": mapping})


def _values_of_parent(parent: Summary) -> Values:
    """Return the parent's options for reading its file: they also fit its corrected rejects."""
    mapping = {name: source for name, source in parent["mapping"].items() if name != PARENT_LINE}
    return {
        "kind": require_kind(parent["kind"]),
        "mapping": mapping,
        "create_customers": parent.get("create_customers", CUSTOMER_NAME in mapping),
    }


def _require_reading_options(options: ImportOptions, preset: Values) -> None:
    """Raise InvalidInput unless kind and mapping are stated: an unknown parent cannot supply them."""
    if not {"kind", "mapping"} <= {**preset, **stated_values(options)}.keys():
        raise InvalidInput(
            f"parent: the kind and mapping of import {options.parent} are no longer known here; give "
            "both (an empty mapping if it had none)"
        )
