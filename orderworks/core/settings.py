"""Every setting, with its type, from the environment.

A setting is the environment variable of the same name in capitals (`db_pool_size` is `DB_POOL_SIZE`).
`NAME_FILE` names a file that holds the value, for secrets. Addresses that are not set are those of the
embedded stack under `ORDERWORKS_HOME`, which leaves them in a state file while it runs. Without that
variable it is the nearest `.orderworks`, upwards from the current folder.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from orderworks.core.bounds import MAX_STATUS
from orderworks.core.errors import ConfigurationError
from orderworks.core.invalid_values import describe
from orderworks.core.stack_home import (
    DEFAULT_HOME,
    HOW_TO_NAME_A_STACK,
    find_home,
    no_stack_runs,
)

STATE_FILE = "state.json"


ONE_SERVER = "Redis Cluster and Sentinel are not supported: give the address of a single server"
"""The sentence for addresses of several servers, also where a server turns out to be one of them."""

MAX_LIFETIME = 365 * 24 * 3600
"""Seconds that a cached value may be fresh, or stale. The server refuses much longer times."""


def _host_names(value: object) -> object:
    """Return the names as they are compared: in lower case, without spaces."""
    if not isinstance(value, str):
        return value
    return tuple(name.strip().lower() for name in value.split(",") if name.strip())


def _statuses(value: object) -> object:
    """Return the statuses in order, each once."""
    if not isinstance(value, str):
        return value
    found = sorted({status.strip() for status in value.split(",")} if value.strip() else ())
    if not all(0 < len(status) <= MAX_STATUS for status in found):
        raise PydanticCustomError(
            "statuses",
            "give statuses of 1 to {most} characters with commas between them",
            {"most": MAX_STATUS},
        )
    return tuple(found)


def _single_server(value: str | None) -> str | None:
    """Refuse the addresses of several servers."""
    scheme, _, _ = (value or "").lower().partition("://")
    if "sentinel" in scheme or "cluster" in scheme:
        raise PydanticCustomError("single_server", ONE_SERVER)
    return value


ServerUrl = Annotated[str | None, AfterValidator(_single_server)]
"""The address of one server."""

HostNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_host_names)]
"""Names of hosts, in a variable with commas between them."""

Statuses = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_statuses)]
"""Statuses of orders, likewise."""

MAX_SECONDS = 365 * 24 * 3600
"""Seconds of a wait or an interval: timers of the servers and of the system take no longer ones."""

LEAST_WAIT, LEAST_INTERVAL = 0.001, 0.1
"""Seconds of a wait, and between two runs of a task: shorter ones would be no wait, and no rest."""


def seconds(default: float, description: str, least: float = LEAST_WAIT) -> Any:  # noqa: ANN401 - as `Field`
    """Return a setting of that many seconds: a finite number from `least` to `MAX_SECONDS`."""
    return Field(default, ge=least, le=MAX_SECONDS, allow_inf_nan=False, description=description)


class Settings(BaseSettings):
    """The settings of a process. `Settings.load()` reads them; they are immutable."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    orderworks_home: Path = Field(
        DEFAULT_HOME,
        description="folder of the embedded stack: data, logs, spool, state file; unset: "
        "the nearest, upwards from the current folder",
    )

    database_url: str | None = Field(
        None, repr=False, description="PostgreSQL, as postgresql://user:password@host:port/database"
    )
    redis_url: ServerUrl = Field(
        None, repr=False, description="Redis or Valkey of the update stream; must be noeviction"
    )
    cache_redis_url: ServerUrl = Field(
        None, repr=False, description="Redis or Valkey of cached reads; default REDIS_URL"
    )
    celery_broker_url: ServerUrl = Field(
        None, repr=False, description="Celery's broker; default REDIS_URL"
    )
    spool_url: str | None = Field(
        None,
        repr=False,
        description="where import files wait: file:///… or s3://…; default ORDERWORKS_HOME/spool",
    )
    flower_url: str | None = Field(None, description="where Flower answers, for `status`")
    gateway_url: str | None = Field(None, description="where the gateway answers, for `status`")

    db_pool_size: int = Field(2, ge=1, description="connections that a process keeps open")
    db_max_overflow: int = Field(1, ge=0, description="connections that it may open beyond those")
    db_pool_timeout: float = seconds(10, "seconds to wait for a pooled connection")
    db_pool_recycle: int = Field(
        1800, ge=-1, le=MAX_SECONDS, description="seconds after which one is replaced"
    )
    db_connect_timeout: int = Field(
        5, ge=1, le=3600, description="seconds to connect to PostgreSQL"
    )
    db_statement_timeout: int = Field(
        90, ge=0, le=2_000_000, description="seconds a statement may run"
    )
    db_lock_timeout: int = Field(
        15, ge=0, le=2_000_000, description="seconds a statement may wait for a lock"
    )

    db_pooler: Literal["none", "transaction"] = Field(
        "none", description="`transaction` if PgBouncer or another pooler is in front of PostgreSQL"
    )

    redis_timeout: float = seconds(5, "seconds to wait for a Redis answer")

    update_shards: int = Field(2, ge=1, le=1024, description="streams that updates are spread over")
    update_batch: int = Field(5000, ge=1, description="stream entries a drain applies at once")
    update_time_slice: float = seconds(5, "seconds a drain runs before it yields")
    stream_limit: int = Field(
        1_000_000, ge=1000, description="entries a shard holds before Backpressure"
    )
    unknown_order_patience: float = seconds(
        300, "seconds an update waits for its order or customer to appear", least=0
    )

    verdict_ttl: int = Field(
        3600,
        ge=1,
        le=MAX_SECONDS,
        description="seconds that the verdict of a tracked update can be asked for",
    )

    import_chunk_rows: int = Field(
        50_000, ge=1, le=500_000, description="rows a chunk holds at most, about"
    )
    import_chunk_bytes: int = Field(
        8 << 20, ge=1 << 10, le=64 << 20, description="bytes a chunk holds at most"
    )
    import_yield_lag: float = seconds(
        2, "seconds an update may wait before chunks of imports yield to it"
    )
    import_presets: Path = Field(
        Path("imports.toml"), description="file of presets for imports, in TOML"
    )
    import_max_bytes: int = Field(
        20 << 30, ge=1, description="bytes of an import file as it is sent, compressed or not"
    )
    import_max_unpacked_bytes: int = Field(
        100 << 30, ge=1, description="bytes of text that it may hold"
    )
    import_max_ratio: float = Field(
        200,
        ge=1,
        allow_inf_nan=False,
        description="times its size that it may unpack to, beyond the first 16 MiB",
    )
    import_max_columns: int = Field(1000, ge=1, description="columns that it may have")
    chunk_attempts: int = Field(5, ge=1, description="starts of a chunk before it is quarantined")

    cache_ttl: int = Field(
        300, ge=1, le=MAX_LIFETIME, description="seconds until a cached read is computed again"
    )
    cache_timeout: float = seconds(0.5, "seconds a cached read waits for an answer of the cache")
    report_depth: int = Field(1000, ge=1, description="customers a published report lists")
    report_interval: float = seconds(30, "seconds between two report refreshes", LEAST_INTERVAL)
    uncounted_statuses: Statuses = Field(
        ("cancelled",),
        description="statuses of orders that count in no report, with commas between them; "
        "`orderworks rebuild` puts a change in force; empty: all count",
    )
    spool_retention_days: int = Field(7, ge=1, description="days that imported files are kept")
    ledger_retention_days: int = Field(
        90, ge=1, description="days that ended imports, their rejects, and dead updates are kept"
    )
    sweep_interval: float = seconds(5, "seconds between two sweeps", LEAST_INTERVAL)

    gateway_host: str = Field(
        "127.0.0.1",
        description="address that the gateway listens at; off the loopback it needs tokens",
    )
    gateway_port: int = Field(8000, ge=0, le=65_535, description="port that the gateway listens at")
    gateway_hosts: HostNames = Field(
        ("localhost", "127.0.0.1", "[::1]"),
        description="names that the gateway answers to, with commas between them",
    )
    gateway_pool_size: int = Field(
        10, ge=1, description="connections to PostgreSQL that a gateway process may open"
    )
    gateway_rate: float = Field(
        100,
        ge=0.001,
        le=1_000_000,
        allow_inf_nan=False,
        description="requests a second that a token may make, if it names no rate",
    )
    gateway_max_body: int = Field(
        1 << 20, ge=1, description="bytes of a request to the gateway, or of a line of a batch"
    )
    gateway_max_batch: int = Field(
        256 << 20, ge=1, description="bytes of a batch of updates to the gateway"
    )
    gateway_max_streams: int = Field(
        2000, ge=1, description="event streams that a gateway process serves at a time"
    )

    @classmethod
    def load(cls, **overrides: str | Path) -> Self:
        """Read the environment, secret files and the embedded stack's state file, in this order.

        Raises:
            ConfigurationError: a value is not valid; names the variable.
        """
        try:
            return cls(**overrides)  # type: ignore[arg-type]  # pydantic converts
        except ValidationError as error:
            first = error.errors()[0]
            variable = str(first["loc"][0]).upper()
            raise ConfigurationError(f"{variable}: {describe(first)}") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources: arguments, then the environment, secret files, the embedded stack."""
        return (
            init_settings,
            EmptyListSource(settings_cls),
            env_settings,
            SecretFiles(settings_cls),
            EmbeddedStack(settings_cls),
        )

    @property
    def database(self) -> str:
        """The address of PostgreSQL."""
        return self._required("DATABASE_URL", self.database_url)

    @property
    def stream(self) -> str:
        """The address of the Redis that holds the update stream."""
        return self._required("REDIS_URL", self.redis_url)

    @property
    def cache(self) -> str:
        """The address of the Redis that holds cached reads."""
        return self.cache_redis_url or self.stream

    @property
    def broker(self) -> str:
        """The address of Celery's broker."""
        return self.celery_broker_url or self.stream

    @property
    def spool(self) -> str:
        """The address of the spool that import files wait in."""
        return self.spool_url or (self.orderworks_home.absolute() / "spool").as_uri()

    def _required(self, variable: str, value: str | None) -> str:
        if value is None:
            raise ConfigurationError(
                f"{variable} is not set, and {no_stack_runs(self.orderworks_home)}: "
                f"set it, {HOW_TO_NAME_A_STACK}"
            )
        return value


class EmptyListSource(PydanticBaseSettingsSource):
    """Reads `UNCOUNTED_STATUSES=` as an empty list; an empty variable of another setting is unset."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Return an empty text if the variable is set and empty."""
        is_empty = os.environ.get(field_name.upper()) == ""
        return ("" if is_empty else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the only setting that may be empty."""
        name = "uncounted_statuses"
        value, _name, _complex = self.get_field_value(self.settings_cls.model_fields[name], name)
        return {} if value is None else {name: value}


class SecretFiles(PydanticBaseSettingsSource):
    """Reads `DATABASE_URL_FILE` and the like: the setting's value is the content of that file."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Return the content of the file that `<NAME>_FILE` names, if that is set."""
        path = os.environ.get(f"{field_name.upper()}_FILE")
        if path is None:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except OSError as error:
            raise ConfigurationError(
                f"{field_name.upper()}_FILE: cannot read {path}: {error.strerror}"
            ) from None

    def __call__(self) -> dict[str, Any]:
        """Return all settings that have a file."""
        values = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in values.items() if value is not None}


class EmbeddedStack(PydanticBaseSettingsSource):
    """Finds the folder of the embedded stack, and reads the addresses that a running one left there."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Unused: the state file is read as a whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the folder, and the addresses in its state file if there is one."""
        home = Path(self.current_state.get("orderworks_home") or find_home())
        return {"orderworks_home": home, **_addresses(home / STATE_FILE)}


def _addresses(file: Path) -> dict[str, Any]:
    """The addresses in a state file, by the names of their settings; none without that file."""
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        return {name.lower(): value for name, value in state["environment"].items()}
    except OSError:
        return {}
    except (ValueError, KeyError, AttributeError):
        raise ConfigurationError(
            f"{file} is damaged: stop the stack, delete it, start again"
        ) from None
