"""The rule of all writes, in its shortest form: each field belongs to the newest write that gave it."""

from collections.abc import Mapping
from typing import Any

NEVER = -1


class FieldFold:
    """Folds the writes of one row, in the order in which they are accepted.

    Attributes:
        values: the fields by name.
        versions: the version of each field's last write.
    """

    def __init__(self, values: Mapping[str, object], version: int = NEVER) -> None:
        self.values: dict[str, Any] = dict(values)
        self.versions = dict.fromkeys(values, version)

    def take(self, version: int, given: Mapping[str, object]) -> str:
        """Take the newer fields of a write; return its verdict."""
        equal = taken = False
        for name, value in given.items():
            last = self.versions.get(name, NEVER)
            if version > last or (version == last and value != self.values.get(name)):
                self.values[name], self.versions[name] = value, version
                taken = True
            equal |= version == last
        if taken:
            return "effective"
        return "duplicate" if equal else "stale"

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - any column's
        """The value of a field."""
        return self.values[name]

    @property
    def version(self) -> int:
        """The version of the newest write."""
        return max(self.versions.values())
