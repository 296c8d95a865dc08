"""`up` warns of a gateway that every local user can use."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderworks.core.settings import Settings
from orderworks_app.cli.gateway_notice import OPEN_GATEWAY, GatewayNotice
from orderworks_app.embedded import health
from orderworks_app.embedded.own_services import BEAT, GATEWAY
from orderworks_app.embedded.service import Service, StartStage
from orderworks_app.embedded.service_runner import ServiceRunner, ServiceState
from orderworks_app.embedded.views import PlainView
from orderworks_app.gateway.auth.scopes import Scope
from orderworks_app.gateway.auth.token_store import create_token


@dataclass
class Lines(PlainView):
    """A view that keeps its lines."""

    lines: list[str] = field(default_factory=list)

    def print_line(self, text: str) -> None:
        """Keep the line."""
        self.lines.append(text)


def warnings(settings: Settings, folder: Path, *ready: str) -> int:
    """The number of warnings when these services become ready, one after the other."""
    view = Lines()
    notice = GatewayNotice(view, settings)
    for name in ready:
        service = Service(name, StartStage.SERVICES, ("true",), "", health.never, {}, folder)
        runner = ServiceRunner(service, folder, notice.changed)
        runner.state = ServiceState.READY
        notice.changed(runner)
    return view.lines.count(OPEN_GATEWAY)


def test_gateway_without_a_token_is_warned_of_once(settings: Settings, tmp_path: Path) -> None:
    assert warnings(settings, tmp_path, BEAT) == 0
    assert warnings(settings, tmp_path, BEAT, GATEWAY, GATEWAY) == 1


def test_gateway_with_a_token_is_not_warned_of(
    settings: Settings, engine: sa.Engine, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        create_token(connection, "app", {Scope.READ}, None)
    assert warnings(settings, tmp_path, GATEWAY) == 0


@pytest.mark.parametrize("url", ["postgresql://me@127.0.0.1:1/nowhere"])
def test_unavailable_database_is_not_warned_of(
    settings: Settings, tmp_path: Path, url: str
) -> None:
    unreachable = settings.model_copy(update={"database_url": url})
    assert warnings(unreachable, tmp_path, GATEWAY) == 0
