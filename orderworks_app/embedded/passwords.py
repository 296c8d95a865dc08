"""The passwords of the embedded servers: random, made once, kept in a private file of the home."""

import secrets
from dataclasses import asdict, dataclass

from orderworks_app.embedded.home import Home, load_values, save_values

PASSWORDS_FILE = "passwords.json"


@dataclass(frozen=True)
class Passwords:
    """All of them are safe in URLs, configuration files and SQL literals as they stand."""

    home_id: str
    """Not secret: tells this home from an earlier one at the same path."""
    postgresql: str
    postgresql_admin: str
    valkey: str
    cache: str
    flower: str

    def __repr__(self) -> str:
        """Never shows one."""
        return "Passwords(...)"


def passwords_of(home: Home) -> Passwords:
    """The home's passwords. Those that are not there yet are made and kept."""
    known = load_values(home, PASSWORDS_FILE)
    names = list(Passwords.__dataclass_fields__)
    passwords = Passwords(**{name: known.get(name) or _new_password(name) for name in names})
    if asdict(passwords) != known:
        save_values(home, PASSWORDS_FILE, asdict(passwords))
    return passwords


def _new_password(name: str) -> str:
    return secrets.token_hex(8) if name == "home_id" else secrets.token_urlsafe(24)
