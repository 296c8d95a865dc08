"""The report as a page: correct, safe with any name, and self-contained."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from orderworks.reports.top_customers import Report, TopCustomer
from orderworks.reports.windows import Window
from orderworks_app.cli.actions.report_html import render

AS_OF = datetime(2026, 11, 26, 14, 3, 30, tzinfo=UTC)
HOSTILE = (
    "</title></th><script>alert('x')</script> \" & <img src=//evil.example/x> $title \u202egnp"
)
ROWS = [
    TopCustomer(7, HOSTILE, 1234, Decimal("1234567.80")),
    TopCustomer(9, "Ünal & Söhne", 2, Decimal("617283.90")),
    TopCustomer(8, "No Orders", 1, Decimal("0.00")),
]

VOID = {"meta", "img", "br", "link", "input"}


class Reader(HTMLParser):
    """Parses a page as a browser does, and requires that elements are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[list[str]] = []
        self.title = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the element."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """Require that it is the last opened element."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Add the text to the open cell."""
        if "title" in self.open:
            self.title += data
        if {"td", "th"} & set(self.open):
            self.cells[-1][-1] += data.replace("\n", "")

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]


def page(window: Window = Window.MONTH, rows: list[TopCustomer] = ROWS) -> str:
    """The page of a report that is 42 s old."""
    report = Report(window, AS_OF, "5:5:", 0.1, rows, complete=True)
    return render(report, AS_OF + timedelta(seconds=42))


def test_table_lists_every_customer_unchanged() -> None:
    read = Reader(page())
    assert read.cells == [
        ["#", "Customer", "Orders", "Total"],
        ["1", f"{HOSTILE} id 7", "1,234", "1,234,567.80"],
        ["2", "Ünal & Söhne id 9", "2", "617,283.90"],
        ["3", "No Orders id 8", "1", "0.00"],
    ]


def test_hostile_name_is_escaped() -> None:
    read = Reader(page())
    assert read.title == "Top customers: Orders of the last 30 days, today included, in UTC"
    assert not read.of("script")
    assert not read.of("img")
    assert len(read.of("bdi")) == len(ROWS), "each name is isolated, and nothing else"


def test_page_loads_no_external_resource() -> None:
    text = page()
    read = Reader(text)
    loading = {"src", "href", "srcset", "action", "data", "poster", "background"}
    assert not [tag for tag, attributes in read.tags if loading & attributes.keys()]
    assert not {"link", "script", "iframe", "object", "base"} & {tag for tag, _ in read.tags}
    assert not re.search(r"url\(|@import", text)
    (policy,) = [each for each in read.of("meta") if "http-equiv" in each]
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_bars_are_relative_to_the_highest_and_labelled() -> None:
    bars = [each for each in Reader(page()).of("span") if each["class"] == "bar"]
    assert [each["style"] for each in bars] == ["width:100.0%", "width:50.0%", "width:0.0%"]
    assert [each["aria-label"] for each in bars][1] == "50.0 % of the highest"


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (Window.ALL, "All orders"),
        (Window.MONTH, "Orders of the last 30 days"),
        (Window.DAY, "Orders of today"),
    ],
)
def test_page_states_its_window_and_age(window: Window, expected: str) -> None:
    text = page(window)
    assert expected in text
    assert "2026-11-26 14:03:30 UTC" in text
    assert "42 s old when this page was written" in text


def test_page_supports_dark_mode_and_small_screens() -> None:
    text = page()
    assert "prefers-color-scheme: dark" in text
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in Reader(
        text
    ).of("meta")


def colours(block: str) -> dict[str, str]:
    """The variables of one scheme."""
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))


def luminance(colour: str) -> float:
    """The contrast ratio as WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast_is_sufficient(scheme: int) -> None:
    has = colours(re.findall(r":root \{[^}]*\}", page())[scheme])
    for name, least in (("text", 7), ("quiet", 4.5), ("bar", 3)):
        lighter, darker = sorted((luminance(has["ground"]), luminance(has[name])), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= least, name


def test_empty_report_states_that_it_is_empty() -> None:
    text = page(rows=[])
    assert "No customer has counted orders" in text
    assert not Reader(text).of("table")
