"""The walk through the HTTP interface in docs/gateway.md, line by line, by curl."""

import os
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from orders.schema import customers, orders
from orders.settings import Settings
from tests.composition import ROOT
from tests.gateways import running_gateway
from tests.processes import Service, eventually

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_walk_in_the_documentation_goes_where_it_says(
    settings: Settings, engine: sa.Engine, worker: Service
) -> None:
    assert worker.process.poll() is None
    script = "\n".join(BLOCK.findall((ROOT / "docs/gateway.md").read_text(encoding="utf-8")))
    with engine.begin() as connection:
        connection.execute(sa.insert(customers).values(id=7, name="Seven"))
    with running_gateway(settings) as address:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            [str(shutil.which("bash")), "-euo", "pipefail", "-c", script],
            env={**os.environ, "PATH": path, "GATEWAY": address},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    query = sa.select(*orders.c["id", "status", "total"]).order_by(orders.c.id)

    def found() -> list[tuple[int, str, Decimal]]:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(query)]

    wanted = [(42, "sent", Decimal("19.99")), (43, "new", Decimal("5.00"))]
    eventually(lambda: found() == wanted, within=30)
