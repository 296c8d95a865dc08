"""The commands and addresses that `up` prints when all services are ready."""

from collections.abc import Mapping, Sequence

from orderworks_app.embedded.service_runner import ServiceRunner, ServiceState
from orderworks_app.embedded.supervisor import Watcher
from orderworks_app.embedded.views import PlainView, TableView

RUNNING = (ServiceState.READY, ServiceState.DONE)


class NextSteps:
    """A watcher that calls another one, and prints the next steps when all services are ready."""

    def __init__(
        self,
        watcher: Watcher,
        view: TableView | PlainView,
        environment: Mapping[str, str],
        program: str,
    ) -> None:
        self._watcher = watcher
        self._view = view
        self._lines = next_steps(environment, program)

    def changed(self, runner: ServiceRunner, /) -> None:
        """Pass the change on."""
        self._watcher.changed(runner)

    def tick(self, runners: Sequence[ServiceRunner], /) -> None:
        """Print the steps if they are due, and pass the poll on."""
        if self._lines and all(runner.state in RUNNING for runner in runners):
            for line in self._lines:
                self._view.print_line(line)
            self._lines = []
        self._watcher.tick(runners)


def next_steps(environment: Mapping[str, str], program: str) -> list[str]:
    """The lines for a stack with these addresses; `program` is how the user starts `orderworks`."""
    steps = [
        (
            environment.get("GATEWAY_URL"),
            "the page: throughput, imports, top customers, dead letters",
        ),
        (
            environment.get("FLOWER_URL"),
            "Flower: workers and tasks; FLOWER_BASIC_AUTH has its password",
        ),
        (f'eval "$({program} env)"', "sets the addresses and passwords in your shell"),
        (f"{program} status", "the state of every service"),
    ]
    shown = [(what, meaning) for what, meaning in steps if what]
    width = max(len(what) for what, _meaning in shown)
    lines = [f"  {what:{width}}  {meaning}" for what, meaning in shown]
    return ["All services are ready. What to try next, in another terminal:", *lines]
