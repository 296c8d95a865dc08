"""The passwords of the embedded servers: random, created once, in a private file of the home."""

import secrets
from dataclasses import asdict, dataclass

from orderworks_app.embedded.home import Home, load_values, save_values

PASSWORDS_FILE = "passwords.json"


@dataclass(frozen=True)
class Passwords:
    """Passwords that need no quoting in URLs, configuration files and SQL literals."""

    home_id: str
    """Not secret: distinguishes this home from an earlier one at the same path."""
    postgresql: str
    postgresql_admin: str
    valkey: str
    cache: str
    flower: str

    def __repr__(self) -> str:
        """A text without any password."""
        return "Passwords(...)"


def passwords_of(home: Home) -> Passwords:
    """The home's passwords. Missing ones are created and stored."""
    stored = load_values(home, PASSWORDS_FILE)
    names = list(Passwords.__dataclass_fields__)
    passwords = Passwords(**{name: stored.get(name) or _new_password(name) for name in names})
    if asdict(passwords) != stored:
        save_values(home, PASSWORDS_FILE, asdict(passwords))
    return passwords


def _new_password(name: str) -> str:
    return secrets.token_hex(8) if name == "home_id" else secrets.token_urlsafe(24)
