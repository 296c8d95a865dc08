"""Messages that Celery cannot process, as any client of the broker can send them."""

import base64
import bz2
import json
import random
import uuid
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from orderworks.core.routing import TaskName

DRAIN = b"[[0], {}, {}]"
"""The body of a valid message of `drain_updates`."""

DEEP = 100_000


class Malformed(NamedTuple):
    """A message that a broker of any kind can deliver.

    Attributes:
        headers: added to those of a valid message; a header with the value `ABSENT` is left out.
        kind: its content type.
    """

    body: bytes = DRAIN
    headers: Mapping[str, Any] = {}
    kind: str = "application/json"
    encoding: str = "utf-8"

    def all_headers(self) -> dict[str, Any]:
        """All headers of the message."""
        identity = str(uuid.uuid4())
        valid = {
            "lang": "py",
            "task": TaskName.DRAIN_UPDATES.value,
            "id": identity,
            "root_id": identity,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "timelimit": [None, None],
            "argsrepr": "",
            "kwargsrepr": "",
            "origin": "x",
        }
        headers = {**valid, **self.headers}
        return {name: value for name, value in headers.items() if value is not ABSENT}


ABSENT = object()

BODIES = {
    "no embed": Malformed(b"[[0], {}]"),
    "four elements": Malformed(b"[[0], {}, {}, {}]"),
    "an object": Malformed(b'{"a": 1}'),
    "an object of arguments": Malformed(b'{"args": 5, "kwargs": []}'),
    "a text": Malformed(b'"abcd"'),
    "a text of three characters": Malformed(b'"abc"'),
    "a number": Malformed(b"5"),
    "null": Malformed(b"null"),
    "true": Malformed(b"true"),
    "an empty list": Malformed(b"[]"),
    "empty": Malformed(b""),
    "not JSON": Malformed(b"[[0], {}, {"),
    "not UTF-8": Malformed(b"\xff\xfe[[0], {}, {}]"),
    "NUL": Malformed(b"\0" * 30),
    "a null in place of arguments": Malformed(b"[null, {}, {}]"),
    "a text in place of arguments": Malformed(b'["0", {}, {}]'),
    "a list in place of keywords": Malformed(b"[[0], [], {}]"),
    "a number in place of the embed": Malformed(b"[[0], {}, 5]"),
    "a text in place of the embed": Malformed(b'[[0], {}, "abc"]'),
    "unknown members of the embed": Malformed(b'[[0], {}, {"delivery_info": 5, "retries": "x"}]'),
    "callbacks that are numbers": Malformed(b'[[0], {}, {"callbacks": [1], "errbacks": 5}]'),
    "a chord that is a text": Malformed(b'[[0], {}, {"chord": "x"}]'),
    "nested 150 deep": Malformed(b"[[" + 150 * b"[" + 150 * b"]" + b"], {}, {}]"),
    "nested 500 deep": Malformed(b"[[" + 500 * b"[" + 500 * b"]" + b"], {}, {}]"),
    "nested 900 deep": Malformed(b"[[" + 900 * b"[" + 900 * b"]" + b"], {}, {}]"),
    "nested without end": Malformed(b"[[" + DEEP * b"[" + DEEP * b"]" + b"], {}, {}]"),
    "objects without end": Malformed(b"[[" + DEEP * b'{"a":' + b"1" + DEEP * b"}" + b"], {}, {}]"),
    "a type that kombu does not know": Malformed(b'[[{"__type__": [], "__value__": 1}], {}, {}]'),
    "an invalid date": Malformed(b'[[{"__type__": "date", "__value__": "x"}], {}, {}]'),
    "a number of 5,000 digits": Malformed(b"[[" + 5000 * b"9" + b"], {}, {}]"),
    "8 MB": Malformed(b'"' + 8_000_000 * b"x" + b'"'),
    "ten thousand items": Malformed(b"[" + b"[0]," * 10_000 + b"[0]]"),
}

CONTENT_TYPES = {
    "pickle": Malformed(b"\x80\x04K\x05.", kind="application/x-python-serialize"),
    "yaml": Malformed(b"!!python/object/apply:os.abort []", kind="application/x-yaml"),
    "unknown type": Malformed(kind="application/x-unknown"),
    "no type": Malformed(kind=""),
    "unknown encoding": Malformed(kind="text/plain", encoding="x-unknown"),
    "unknown compression": Malformed(headers={"compression": "x-unknown"}),
    "not compressed": Malformed(headers={"compression": "application/x-gzip"}),
    "80 MB that are compressed to less than one": Malformed(
        zlib.compress(bytes(80_000_000)), headers={"compression": "application/x-gzip"}
    ),
    "compressed and cut off": Malformed(
        bz2.compress(DRAIN)[:-5], headers={"compression": "application/x-bz2"}
    ),
    "compression that is a list": Malformed(headers={"compression": ["gzip"]}),
}

_WRONG_HEADERS: dict[str, dict[str, Any]] = {
    "no id": {"id": ABSENT},
    "an id that is null": {"id": None},
    "an id that is a list": {"id": []},
    "an id that is a number": {"id": 5},
    "no id of an unknown task": {"id": ABSENT, "task": "tasks.unknown"},
    "a task that is a list": {"task": ["tasks.updates.drain_updates"]},
    "a task that is null": {"task": None},
    "no task": {"task": ABSENT},
    "time limits that are texts": {"timelimit": ["a", "b"]},
    "one time limit": {"timelimit": [5]},
    "a time limit": {"timelimit": 5},
    "a time limit that is an object": {"timelimit": {"soft": 1}},
    "negative time limits": {"timelimit": [-1, -5]},
    "retries that are a text": {"retries": "x"},
    "retries that are null": {"retries": None},
    "negative retries": {"retries": -1},
    "an eta that is a text": {"eta": "tomorrow"},
    "an eta that is a number": {"eta": 1e300},
    "an eta that is a list": {"eta": []},
    "an eta far ahead": {"eta": "9999-12-31T23:59:59+00:00"},
    "an eta without a zone": {"eta": "9999-12-31T23:59:59.999999"},
    "expires that is a text": {"expires": "never"},
    "expires that is a list": {"expires": [1]},
    "a group that is an object": {"group": {"a": 1}},
    "a root that is a list": {"root_id": [1]},
    "a name that is an object": {"shadow": {"a": 1}},
    "stamps that are a number": {"stamped_headers": 5, "stamps": 5},
    "callbacks in the headers": {"errbacks": 5, "chord": "x"},
    "headers that are a text": {"headers": "x"},
    "a broken task of Celery": {"task": "celery.backend_cleanup", "timelimit": "ab"},
}

HEADERS = {name: Malformed(headers=headers) for name, headers in _WRONG_HEADERS.items()}

FAILING = {
    "no arguments": Malformed(b"[[], {}, {}]"),
    "too many arguments": Malformed(b"[[0, 1, 2], {}, {}]"),
    "unknown keywords": Malformed(b'[[], {"shard": 0, "x": 1}, {}]'),
    "a shard that is null": Malformed(b"[[null], {}, {}]"),
    "a shard that is a list": Malformed(b"[[[]], {}, {}]"),
    "a shard that is a text": Malformed(b'[["x"], {}, {}]'),
    "a shard beyond bigint": Malformed(b"[[99999999999999999999], {}, {}]"),
    "a header of beat that is a list": Malformed(headers={"orderworks-beat": []}),
    "an unknown task": Malformed(headers={"task": "tasks.unknown"}),
    "expired": Malformed(headers={"expires": "2001-01-01T00:00:00+00:00"}),
    "due long ago": Malformed(headers={"eta": "2001-01-01T00:00:00+00:00"}),
}
"""Messages that Celery can process, with errors in their tasks, or nothing to do."""


def envelope(message: Malformed, **members: Any) -> bytes:  # noqa: ANN401 - any JSON
    """The element of a queue in Redis that has the message; `members` replace those of the element."""
    tag = str(uuid.uuid4())
    element = {
        "body": base64.b64encode(message.body).decode(),
        "content-encoding": message.encoding,
        "content-type": message.kind,
        "headers": message.all_headers(),
        "properties": {
            "correlation_id": tag,
            "reply_to": "x",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "updates"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": tag,
        },
    }
    return json.dumps({**element, **members}).encode()


def _properties(**members: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    valid: dict[str, Any] = json.loads(envelope(Malformed()))["properties"]
    return {**valid, **members}


ENVELOPES = {
    "not JSON": b"not JSON",
    "an empty text": b"",
    "a list": b"[]",
    "null": b"null",
    "a number": b"5",
    "a text": b'"x"',
    "an empty object": b"{}",
    "binary": bytes(range(256)),
    "pickle": b"\x80\x04]\x94.",
    "nested without end": DEEP * b"[" + DEEP * b"]",
    "headers nested 600 deep": b'{"headers": ' + 600 * b'{"a":' + b"1" + 600 * b"}" + b"}",
    "no properties": b'{"body": "", "headers": {}}',
    "properties that are a list": envelope(Malformed(), properties=[]),
    "no delivery tag": envelope(Malformed(), properties={"delivery_info": {}}),
    "a tag that is a list": envelope(Malformed(), properties=_properties(delivery_tag=[1])),
    "a tag that is true": envelope(Malformed(), properties=_properties(delivery_tag=True)),
    "a tag of a lone surrogate": envelope(
        Malformed(), properties=_properties(delivery_tag="\ud800")
    ),
    "no delivery info": envelope(Malformed(), properties=_properties(delivery_info=None)),
    "an exchange that is a list": envelope(
        Malformed(), properties=_properties(delivery_info={"exchange": [], "routing_key": {}})
    ),
    "headers that are a list": envelope(Malformed(), headers=[1]),
    "headers that are null": envelope(Malformed(), headers=None),
    "headers nested 150 deep": envelope(
        Malformed(headers={"x": json.loads(150 * "[" + 150 * "]")})
    ),
    "headers nested 900 deep": envelope(
        Malformed(headers={"x": json.loads(900 * "[" + 900 * "]")})
    ),
    "a body that is an object": envelope(Malformed(), body={"a": 1}),
    "a body that is null": envelope(Malformed(), body=None),
    "a body that is no base64": envelope(Malformed(), body="*"),
    "an unknown body encoding": envelope(Malformed(), properties=_properties(body_encoding="x")),
    "a body encoding that is a list": envelope(
        Malformed(), properties=_properties(body_encoding=[1])
    ),
    "a content type that is a list": envelope(Malformed(), **{"content-type": ["x"]}),
    "a content encoding that is a number": envelope(Malformed(), **{"content-encoding": 5}),
}
"""Elements of a queue in Redis that are no envelope of a message."""


def garbage(number: int) -> list[bytes]:
    """Random bytes, and valid envelopes with random bytes in them; the same ones in every run."""
    choose = random.Random(7)
    valid = envelope(Malformed())
    made = []
    for _each in range(number):
        made.append(choose.randbytes(choose.randrange(1, 400)))
        damaged = bytearray(valid)
        for _byte in range(choose.randrange(1, 6)):
            damaged[choose.randrange(len(damaged))] = choose.randrange(256)
        made.append(bytes(damaged))
        made.append(valid[: choose.randrange(len(valid))])
    return made
