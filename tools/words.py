"""Check the language of code and documents: `python tools/words.py [PATH ...]`.

Text is plain: docstrings, comments, messages, documents and names use the words of the manuals of
Celery, Redis and PostgreSQL, or those of docs/glossary.md. This command lists each figurative or
ambiguous word with a plain one, and each docstring whose first word is a question word. It exits with
1 if there are more findings than `[tool.words] limit` in pyproject.toml allows. That limit may only
fall. `tools/words_allowed.txt` has the phrases that stay.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

PLAIN = {
    r"told|untold|tells?|telling": "report, publish, state",
    r"says?|said|saying|wordless": "return, report, state",
    r"mend(s|ed|ing)?": "correct, repair",
    r"bur(y|ies|ied)": "dead-letter",
    r"away": "unavailable",
    r"anew": "again",
    r"by (itself|themselves)": "without help, alone",
    r"who|whom|whoever|nobody|somebody|anybody|anyone": "the caller, the process, the client",
    r"lets?|letting": "allow, wait for, release",
    r"(is|are|was|were|be|of what is) none": "invalid, not an X",
    r"brings?|brought|bringing": "load, fetch, carry",
    r"(so|as) many": "n, that number of",
    r"hearts?": "heartbeat",
    r"glance(s|d)?|looks?|looked|looking": "check, poll, read",
    r"dies?|died|dying": "fail, exit",
    r"lives?|lived": "run, is valid",
    r"forg(et|ets|ot|otten|iven?|ive|ave|etting)": "delete, does not count",
    r"disappears?|disappeared": "is invalidated, is deleted",
    r"at the (most|least)": "at most, at least",
    r"(under|on its|on their|in its) way|at work": "running, in progress, pending",
    r"hand(s|ed|ing)? (over|out|in)": "pass, submit",
    r"whatever": "any, all",
    r"beside(s)?": "next to, also",
    r"in one go": "at once",
    r"in vain": "without success",
    r"for ever": "without a limit",
    r"by and by|now and then": "periodically",
    r"goes? on|went on": "continue",
    r"keep(s)? off|held off|holds? off": "block, exclude",
}
"""Regular expressions of words, with plain ones."""

NAMES = re.compile(
    r"(?:^|_)(told|untold|tell|mend|mending|bury|buried|away|anew|whoever|nobody|somebody|heart|"
    r"glance|forgive|forgiven|wordless|door|linger|grounded|welcome|stranger|strangers|ailment|latecomer)"
    r"(?:_|$)",
    re.IGNORECASE,
)
"""Words that no name of a function, class, parameter, variable or test has."""

QUESTION = re.compile(r"(What|Whether|Which|How|Where|Who|When|Whose|Whom|Why)\b")
FINDING = re.compile(
    "|".join(rf"(?P<w{n}>\b(?:{word})\b)" for n, word in enumerate(PLAIN)), re.IGNORECASE
)
SUGGESTIONS = list(PLAIN.values())
SCRIPT_TEXT = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|`(?:\\.|[^`\\])*`", re.DOTALL)
"""Comments and strings of a script. Of strings, those with a blank are sentences."""
ALLOWED = ROOT / "tools" / "words_allowed.txt"


class Text(NamedTuple):
    """A piece of text of a file, and the line on which it begins."""

    line: int
    text: str
    is_docstring: bool = False


class Finding(NamedTuple):
    """A word that is not plain, or a name that has one."""

    path: Path
    line: int
    word: str
    instead: str


def main(arguments: list[str]) -> int:
    """Print the findings below the paths; return 1 if the whole project has more than the limit."""
    files = tracked(arguments)
    found = [finding for file in files for finding in findings_in(file)]
    limit = 0 if arguments else ratchet()
    if len(found) > limit:
        for each in found:
            print(f"{each.path}:{each.line}: {each.word!r}: {each.instead}")
    print(f"{len(found)} findings in {len(files)} files; the limit is {limit}")
    if len(found) < limit:
        print("Lower `[tool.words] limit` in pyproject.toml to that number: it may only fall.")
    return int(len(found) > limit)


def ratchet() -> int:
    """The findings that pyproject.toml allows in the whole project."""
    limit: int = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["words"]["limit"]
    return limit


def tracked(paths: list[str]) -> list[Path]:
    """The files below the paths whose language is checked; all of the project without paths."""
    command = ["git", "-c", "safe.directory=*", "ls-files", *paths]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    suffixes = {".py", ".md", ".js", ".html", ".yml"}
    skipped = ("tools/words.py", "tests/golden", "docs/figures", "tests/vectors")
    return [
        Path(name)
        for name in listed.stdout.splitlines()
        if Path(name).suffix in suffixes and not name.startswith(skipped)
    ]


def findings_in(path: Path) -> Iterator[Finding]:
    """The findings of one file, by line."""
    source = (ROOT / path).read_text(encoding="utf-8")
    for text in texts(path, source):
        if text.is_docstring and QUESTION.match(text.text):
            first = text.text.split(maxsplit=1)[0]
            yield Finding(path, text.line, first, "begin with a verb or a noun")
        yield from words_in(path, text)
    if path.suffix == ".py":
        yield from names_in(path, ast.parse(source))


def words_in(path: Path, text: Text) -> Iterator[Finding]:
    """The words of a text that are not plain. What stands in backticks is code."""
    plain = ALLOWANCES.sub(lambda allowed: " " * len(allowed[0]), without_code(text.text))
    for match in FINDING.finditer(plain):
        line = text.line + plain.count("\n", 0, match.start())
        number = int(str(match.lastgroup)[1:])
        yield Finding(path, line, match[0], SUGGESTIONS[number])


def without_code(text: str) -> str:
    """The text with blanks in place of code in backticks, URLs and paths."""
    return re.sub(
        r"```.*?```|`[^`]*`|https?:\S+|\S*/\S*",
        lambda m: re.sub(r"\S", " ", m[0]),
        text,
        flags=re.DOTALL,
    )


def texts(path: Path, source: str) -> Iterator[Text]:
    """The texts of a file: of Python docstrings, comments and sentences, else all of it."""
    if path.suffix == ".md":
        yield Text(1, source)
    elif path.suffix == ".py":
        yield from python_texts(source)
    elif path.suffix == ".js":
        for match in SCRIPT_TEXT.finditer(source):
            if match[0].startswith("/") or " " in match[0]:
                text = re.sub(r"\$\{[^}]*\}", " ", match[0]).replace("`", " ")
                yield Text(source.count("\n", 0, match.start()) + 1, text)
    elif path.suffix == ".html":
        for match in re.finditer(r"<!--.*?-->|>([^<]+)<", source, re.DOTALL):
            yield Text(source.count("\n", 0, match.start()) + 1, match[0])
    else:
        for number, line in enumerate(source.splitlines(), 1):
            yield Text(number, line)


def python_texts(source: str) -> Iterator[Text]:
    """Docstrings (of attributes too), comments, and string constants that are sentences."""
    tree = ast.parse(source)
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_docstring = id(node) in documented
            if is_docstring or re.search(r"[a-z] [a-z]", node.value):
                yield Text(node.lineno, node.value, is_docstring)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and "noqa" not in token.string.partition("-")[0]:
            yield Text(token.start[0], token.string)
        elif token.type == tokenize.COMMENT:
            yield Text(token.start[0], token.string.partition(" - ")[2])


def names_in(path: Path, tree: ast.Module) -> Iterator[Finding]:
    """Names of functions, classes, parameters and assigned variables that have a figurative word."""
    for node in ast.walk(tree):
        name = defined_name(node)
        match = NAMES.search(name) if name else None
        if match:
            yield Finding(
                path, getattr(node, "lineno", 1), str(name), "name it by the field's term"
            )


def defined_name(node: ast.AST) -> str | None:
    """The name that the node defines, if it defines one."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    return None


def allowances() -> re.Pattern[str]:
    """The phrases that stay, a line each in `words_allowed.txt`."""
    lines = ALLOWED.read_text(encoding="utf-8").splitlines()
    phrases = [re.escape(line) for line in lines if line and not line.startswith("#")]
    return re.compile("|".join(sorted(phrases, key=len, reverse=True)) or r"(?!)", re.IGNORECASE)


ALLOWANCES = allowances()

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
