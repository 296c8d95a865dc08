"""Names that apps import and processes are started by: they are there, and called as they were.

`test_surface.py` describes how to rewrite the golden files.
"""

import ast
import builtins
import enum
import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from orderworks.core.settings import Settings
from tests.support.golden import compare

DOMAIN = "orderworks"
"""The package that apps import reads, caches and the outbox from."""

PUBLIC = {
    "DOMAIN.cache": f"{DOMAIN}.cache",
    "DOMAIN.outbox": f"{DOMAIN}.outbox",
    "DOMAIN.reads": f"{DOMAIN}.reads",
    "producer": "producer",
}
"""Modules that apps import, by what the golden file calls them."""

STARTED = (
    *("celeryconfig", "worker", "worker.celery", "worker.heartbeat"),
    *("tasks.imports", "tasks.reports", "tasks.rollups", "tasks.updates", "tasks.upkeep"),
)
"""Modules that command lines, settings and messages name."""

OWN = (*PUBLIC.values(), DOMAIN)
"""First parts of the module names of our classes."""

PLAIN = (type(None), bool, int, float, str, bytes, tuple)
"""Types of defaults that are listed by value; all others are listed by type."""


def test_public_names_and_signatures_are_unchanged() -> None:
    facts = [fact for called, name in PUBLIC.items() for fact in module_facts(called, name)]
    compare("imports.txt", sorted({*facts}))


def test_modules_that_processes_are_started_by_can_be_imported(settings: Settings) -> None:
    assert settings.broker
    assert all(import_module(name) for name in STARTED)


def module_facts(called: str, name: str) -> Iterator[str]:
    """Every public name of a module, and how it is called."""
    module = import_module(name)
    for public in public_names(module):
        value = getattr(module, public)
        where = f"{called}.{public}"
        yield where
        if inspect.isclass(value):
            yield from class_facts(where, value)
            yield from (f"{where} is a {name}" for name in caught_by(value, module))
        elif inspect.isfunction(value):
            yield f"{where}{signature(value)}"


def public_names(module: ModuleType) -> list[str]:
    """Those in `__all__`; without one, all that the module itself defines."""
    listed: list[str] | None = getattr(module, "__all__", None)
    return listed or [*filter(is_public, defined_names(module))]


def defined_names(module: ModuleType) -> Iterator[str]:
    """Classes, functions and variables in the order of the source."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (each.id for each in node.targets if isinstance(each, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def class_facts(where: str, kind: type) -> Iterator[str]:
    """The constructor of a class, and its public members."""
    if issubclass(kind, enum.Enum):
        yield from (f"{where}.{each.name} = {each.value!r}" for each in kind)
        return
    if not issubclass(kind, BaseException) or "__init__" in members(kind, lambda _name: True):
        yield f"{where}{signature(kind)}"
    for name in members(kind, is_public):
        yield member_fact(f"{where}.{name}", inspect.getattr_static(kind, name))


def caught_by(kind: type, module: ModuleType) -> Iterator[str]:
    """The names of an error's bases, as far as Python or its module has them."""
    known = {**vars(builtins), **vars(module)}
    for base in kind.__mro__[1:]:
        if issubclass(base, Exception) and known.get(base.__name__) is base:
            yield base.__name__


def members(kind: type, wanted: Callable[[str], bool]) -> set[str]:
    """Names that the class, or one of ours below it, defines."""
    ours = [each for each in kind.__mro__ if each.__module__.startswith(OWN)]
    return {name for each in ours for name in vars(each) if wanted(name)}


def is_public(name: str) -> bool:
    """Return whether the name is public."""
    return not name.startswith("_")


def member_fact(where: str, member: Any) -> str:  # noqa: ANN401 - any member
    """A method with its parameters; of all else, that it is there."""
    if isinstance(member, classmethod | staticmethod):
        return f"{where}{signature(member.__func__)} ({type(member).__name__})"
    if not inspect.isfunction(member):
        return where
    kind = "async " if inspect.iscoroutinefunction(member) else ""
    return f"{kind}{where}{signature(member)}"


def signature(function: Any) -> str:  # noqa: ANN401 - any callable
    """The parameters with their kinds and defaults, without types."""
    parameters = inspect.signature(function).parameters.values()
    return str(inspect.Signature([bare(each) for each in parameters]))


def bare(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter whose default does not name our types."""
    default = parameter.default
    if default is not inspect.Parameter.empty and not isinstance(default, PLAIN):
        default = type(default)
    return parameter.replace(annotation=inspect.Parameter.empty, default=default)
