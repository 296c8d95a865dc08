""".env.example lists every setting and variable of docker-compose.yml, with meaning and default."""

import re

from orderworks.core.settings import Settings
from tests.support.compose_processes import FILE
from tests.support.processes import ROOT
from worker import heartbeat

ENTRY = re.compile(
    r"^# (?P<meaning>[^\n]+)\n# ?(?P<name>[A-Z_]+)=(?P<default>[^\n]*)$", re.MULTILINE
)
ENTRIES = {
    found["name"]: (found["meaning"], found["default"])
    for found in ENTRY.finditer((ROOT / ".env.example").read_text(encoding="utf-8"))
}
COMPOSE_VARIABLES = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", FILE.read_text(encoding="utf-8")))


def test_every_setting_is_listed_with_description_and_default() -> None:
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else text_of(field.default)
        assert ENTRIES[name.upper()] == (field.description, default)


def text_of(default: object) -> str:
    """A value as text in an environment variable."""
    return ",".join(default) if isinstance(default, tuple) else str(default)


def test_every_compose_variable_is_listed_with_its_default() -> None:
    for name, default in COMPOSE_VARIABLES.items():
        assert ENTRIES[name][0]
        assert name == "SPOOL_URL" or ENTRIES[name][1] == default


def test_only_known_variables_are_listed() -> None:
    settings = {name.upper() for name in Settings.model_fields}
    assert set(ENTRIES) == settings | set(COMPOSE_VARIABLES) | {heartbeat.VARIABLE}
