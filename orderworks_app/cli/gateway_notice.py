"""Warns the user of `up` that the gateway is open to every local user while it has no token."""

from collections.abc import Sequence
from contextlib import suppress

import sqlalchemy as sa

from orderworks.core.database import make_engine
from orderworks.core.settings import Settings
from orderworks_app.embedded.own_services import GATEWAY
from orderworks_app.embedded.service_runner import ServiceRunner, ServiceState
from orderworks_app.embedded.views import PlainView, TableView
from orderworks_app.gateway.auth.token_store import count_valid

OPEN_GATEWAY = (
    "Every user of this machine can use the gateway until its first token is created: "
    "`orderworks token create NAME`."
)


class GatewayNotice:
    """A watcher that passes all to the view, and prints the warning when the gateway is ready first."""

    def __init__(self, view: TableView | PlainView, settings: Settings) -> None:
        self._view = view
        self._settings = settings
        self._is_due = True

    def changed(self, runner: ServiceRunner, /) -> None:
        """Pass the change on. A gateway that is ready has a database with the newest schema."""
        self._view.changed(runner)
        if runner.service.name == GATEWAY and runner.state is ServiceState.READY and self._is_due:
            self._is_due = False
            if self._lacks_tokens():
                self._view.print_line(OPEN_GATEWAY)

    def tick(self, runners: Sequence[ServiceRunner], /) -> None:
        """Pass the poll on."""
        self._view.tick(runners)

    def _lacks_tokens(self) -> bool:
        engine = make_engine(self._settings, "orderworks-up")
        try:
            with suppress(sa.exc.SQLAlchemyError), engine.connect() as connection:
                return not count_valid(connection)
        finally:
            engine.dispose()
        return False
