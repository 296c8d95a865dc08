"""Messages about invalid documents are in our words, for every kind of error that msgspec raises."""

import msgspec
import pytest

from orderworks.core.invalid_values import describe_json


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """A document with a field of each kind."""

    number: int
    text: str | None = None
    flag: bool = False
    share: float = 0.5


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ("[]", "is a list, not an object"),
        ('{"number": "x"}', "is a text, not a whole number"),
        ('{"number": null}', "is null, not a whole number"),
        ('{"number": 1, "text": 5}', "is a whole number, not a text or null"),
        ('{"number": 1, "flag": {}}', "is an object, not true or false"),
        ('{"number": 1, "share": true}', "is true or false, not a number"),
        ('{"number": 1, "nubmer": 2}', "has an unknown field 'nubmer'"),
        ("{}", "lacks the field 'number'"),
        ("{", "Input data was truncated"),
    ],
)
def test_problem_is_described_without_names_of_types(document: str, problem: str) -> None:
    with pytest.raises(msgspec.DecodeError) as refused:
        msgspec.json.decode(document, type=Document)
    assert describe_json(str(refused.value).partition(" - at `")[0]) == problem
