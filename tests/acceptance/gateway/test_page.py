"""The page in a real browser, with a real gateway, workers and beat: the actions of an operator."""

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from orderworks.core.settings import Settings
from orderworks.reports.top_customers import compute
from orderworks.reports.windows import Window
from orderworks.updates.messages import OrderUpdate
from orderworks_app.gateway.auth.scopes import Scope
from orderworks_app.gateway.auth.token_store import create_token, revoke_token
from producer import Producer
from tests.support.browser import PHONE, Browser, Installed, find_browser, running_browser
from tests.support.celery_inspection import run as run_sql
from tests.support.gateways import running_gateway
from tests.support.oracle import read_orders
from tests.support.processes import BEAT_OFTEN, CeleryProcess, eventually
from tests.support.tcp_proxy import link_to

CHUNK = 500
"""Lines of a chunk: a small file has several."""

HOSTILE = '<img src=x onerror="document.title=`stolen`">'

NAMES = {
    "id": "o_orderkey",
    "customer_id": "o_custkey",
    "total": "betrag",
    "status": "o_orderstatus",
}
"""The columns of `write_file`, by their targets."""

FIRST = "#import-list .card:first-child"
"""The newest import."""

HOLD_FIRST_STATUS = """
const send = window.fetch;
const released = new Promise((resolve) => { window.releaseStatus = resolve; });
const held = [];
window.fetch = async (path, options) => {
  const response = await send(path, options);
  if (path === "v1/status" && !held.length) {
    held.push(path);
    await released;
  }
  return response;
};
"""
"""Delays the response to the page's first request of the status."""

HELD = 991
"""The advisory lock that blocks the row of `held_row`."""


@pytest.fixture(scope="module")
def installed() -> Installed:
    """The browser."""
    return find_browser()


@pytest.fixture(scope="module")
def environment(installed: Installed) -> Mapping[str, str]:
    """Variables of processes; chunks are so small that an import has several."""
    return {**BEAT_OFTEN, "IMPORT_CHUNK_ROWS": str(CHUNK)}


@pytest.fixture(scope="module")
def address(settings: Settings, worker_with_beat: CeleryProcess) -> Iterator[str]:
    """The address of the page."""
    with running_gateway(settings) as gateway:
        yield f"{gateway}/"


@pytest.fixture(scope="module")
def window(
    installed: Installed, address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """A browser for all tests of the module; it ends before the gateway whose events it follows."""
    assert address
    with running_browser(installed, tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser, address: str) -> Iterator[Browser]:
    """The page, opened again. In the end it has contacted no other host, and its console is empty."""
    window.open(address)
    window.reads("#connection", "Live")
    yield window
    assert window.asked_hosts() <= {address.removeprefix("http://").rstrip("/")}
    assert window.complaints() == []


@contextmanager
def held_row(engine: sa.Engine, order_id: int) -> Iterator[sa.Connection]:
    """Block inserts of this order while the connection holds the lock `HELD`."""
    run_sql(
        engine,
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"PERFORM pg_advisory_xact_lock_shared({HELD}); RETURN NEW; END $$",
        "CREATE TRIGGER hold BEFORE INSERT ON orders FOR EACH ROW "
        f"WHEN (NEW.id = {order_id}) EXECUTE FUNCTION hold()",
    )
    try:
        with engine.connect() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_lock(HELD)))
            yield connection
    finally:
        run_sql(engine, "DROP TRIGGER hold ON orders", "DROP FUNCTION hold()")


def write_shop(engine: sa.Engine) -> None:
    """Insert three customers; one has two orders, and a name that is markup."""
    run_sql(engine, "TRUNCATE orders, customers CASCADE")
    with engine.begin() as connection:
        names = [{"id": 1, "name": HOSTILE}, {"id": 2, "name": "Two"}, {"id": 3, "name": "Three"}]
        connection.execute(sa.text("INSERT INTO customers (id, name) VALUES (:id, :name)"), names)
        connection.execute(
            sa.text("INSERT INTO orders (id, customer_id, total) VALUES (1, 1, 12), (2, 1, 7)")
        )


def write_file(file: Path, rows: int) -> Path:
    """Write orders 1 to `rows` of customers 1 to 3, in columns with other names; five are invalid."""
    invalid = {5: "2;twelve", 6: "2;1e400", 7: "99;5.00", 1200: "98;5.00", 1201: "3;-1"}
    lines = (
        f"{each};{invalid.get(each, f'{each % 3 + 1};{each}.50')};paid"
        for each in range(1, rows + 1)
    )
    file.write_text("\n".join(("o_orderkey;o_custkey;betrag;o_orderstatus", *lines, "")), "utf-8")
    return file


def write_corrected(file: Path, rejects: list[dict[str, str]]) -> Path:
    """Write the rejects with corrected values, in the columns of the downloaded file."""
    with file.open("w", encoding="utf-8", newline="") as opened:
        sheet = csv.DictWriter(opened, [*rejects[0]])
        sheet.writeheader()
        sheet.writerows({**each, "o_custkey": "2", "betrag": "5.00"} for each in rejects)
    return file


def uploads_of(browser: Browser) -> int:
    """Return the number of files that the page has sent."""
    sent = "performance.getEntriesByType('resource').filter(e => e.name.includes('filename='))"
    return int(browser.run(f"return {sent}.length"))


def bar_of(browser: Browser) -> int:
    """Return the progress of the newest import's bar, in percent."""
    bar = browser.all("#import-list .card:first-child [role=progressbar]")
    return int(bar[0].get_attribute("aria-valuenow") or 0) if bar else 0


def test_dropped_file_is_dry_run_imported_followed_and_rejects_are_downloaded(
    browser: Browser, engine: sa.Engine, tmp_path: Path
) -> None:
    write_shop(engine)
    file = write_file(tmp_path / "orders <b>of november.csv", 4 * CHUNK)

    browser.drop(file, "#new-import .drop")
    assert "orders <b>of november.csv" in browser.reads("#new-import h3", "which column is which")
    chosen = {
        each.get_attribute("name"): each.get_attribute("value")
        for each in browser.all(".mapping select")
    }
    assert chosen["id"] == "o_orderkey"
    assert chosen["customer_id"] == "o_custkey"
    assert (chosen["total"], chosen["status"]) == ("", "o_orderstatus")
    Select(browser.one("select[name=total]")).select_by_value("betrag")
    assert "1.50" in browser.text(".mapping")

    browser.press("Dry run", "#new-import")
    would = browser.reads("#new-import .dry-run", "First rejected rows", within=30)
    for words in ("1,993 new", "2 changed", "0 unchanged", "5 rejected", "12.00\t1.50", "twelve"):
        assert words in would
    assert "reports that would change: all, 365d, 90d, 30d, 7d, 1d" in would
    assert set(read_orders(engine)) == {1, 2}, "a dry run changed something"

    with held_row(engine, 4 * CHUNK) as holder:
        browser.press("Import 1,995 rows", "#new-import")
        eventually(lambda: 0 < bar_of(browser) < 100, 30, "the bar does not move")
        holder.execute(sa.select(sa.func.pg_advisory_unlock(HELD)))
    browser.reads(f"{FIRST} .status", "done", within=30)
    assert "1,995 applied" in browser.text(FIRST)
    assert len(read_orders(engine)) == 4 * CHUNK - 5
    assert uploads_of(browser) == 1, "the file was sent again to be imported"

    browser.one(f"{FIRST} summary").click()
    reasons = browser.reads(f"{FIRST} .rejects table", "customer_id")
    assert "twelve" in reasons or "1e400" in reasons
    import_id = browser.text(f"{FIRST} .id")
    browser.press("Download to correct", FIRST)
    saved = [*csv.DictReader(browser.downloaded(f"rejects-{import_id}.csv").splitlines())]
    assert {int(each["line"]) for each in saved} == {6, 7, 8, 1201, 1202}

    report = compute(engine, Window.ALL, 10)
    totals = [f"{row.total:,.2f}" for row in report.rows]
    eventually(
        lambda: [each.text for each in browser.all(".bars .total")] == totals,
        20,
        "the chart differs from the report",
    )
    names = [each.text for each in browser.all(".bars .name")]
    assert sorted(names) == sorted([HOSTILE, "Two", "Three"])
    assert browser.driver.title == "Orderworks"


def test_corrected_rejects_are_uploaded_next_to_their_reasons(
    browser: Browser, engine: sa.Engine, tmp_path: Path
) -> None:
    write_shop(engine)
    file = write_file(tmp_path / "odd.csv", 10)
    with Producer.from_settings() as producer:
        import_id = producer.import_file(file, mapping=NAMES, again=True).id
    browser.reads(FIRST, import_id)
    browser.reads(f"{FIRST} .status", "done", within=30)
    browser.one(f"{FIRST} summary").send_keys(Keys.ENTER)
    browser.reads(f"{FIRST} .rejects table", "customer_id")
    browser.one(f"{FIRST} summary").send_keys(Keys.TAB, Keys.TAB)
    browser.one(f"{FIRST} .corrections .drop:focus-visible")
    browser.press("Download to correct", FIRST)
    saved = [*csv.DictReader(browser.downloaded(f"rejects-{import_id}.csv").splitlines())]

    browser.pick(file, f"{FIRST} .corrections input[type=file]")
    browser.reads(f"{FIRST} .corrections .problem", "column")
    assert [each for each in browser.complaints() if " 422 " in each]

    corrected = write_corrected(tmp_path / "corrected.csv", saved)
    browser.drop(corrected, f"{FIRST} .corrections .drop")
    browser.reads(f"{FIRST} header", "corrected.csv", within=30)
    browser.reads(f"{FIRST} .status", "done", within=30)
    assert "3 applied" in browser.text(FIRST)
    parent = "#import-list .card:nth-child(2)"
    assert browser.text(f"{parent} .id") == import_id
    browser.reads(parent, "3 of them corrected")
    assert browser.all(f"{parent} .rejects[hidden]"), "the reasons are still shown"
    assert len(read_orders(engine)) == 10


def test_chart_shows_selected_window_and_follows_changes(
    browser: Browser, engine: sa.Engine
) -> None:
    write_shop(engine)
    run_sql(engine, "UPDATE orders SET created_at = now() - interval '60 days' WHERE id = 1")
    eventually(lambda: browser.text(".bars .total") == "19.00", 20, browser.text("#customers"))
    browser.one("#windows label:nth-of-type(4)").click()  # 30 days
    eventually(lambda: browser.text(".bars .total") == "7.00", 20, browser.text("#customers"))
    run_sql(engine, "UPDATE orders SET total = 8 WHERE id = 2")
    eventually(lambda: browser.text(".bars .total") == "8.00", 20, browser.text("#customers"))
    browser.reads("#freshness", "as of")


def test_throughput_and_service_status_refresh_without_reload(
    browser: Browser, engine: sa.Engine
) -> None:
    write_shop(engine)
    before = browser.text("#throughput")
    with Producer.from_settings() as producer:
        producer.update_many(OrderUpdate(order_id=1, total=str(each)) for each in range(2000))
    eventually(lambda: "2,000 so far" in browser.text("#throughput"), 20, before)
    eventually(
        lambda: browser.run(
            "return document.querySelector('#throughput path.line').getBBox().height > 1"
        ),
        15,
    )
    browser.reads("#services", "queue imports")
    browser.reads("#beat", "refresh")
    browser.reads("#health", "are healthy")


def test_replayed_dead_letters_leave_the_list(browser: Browser, engine: sa.Engine) -> None:
    write_shop(engine)
    run_sql(engine, "ALTER TABLE orders ADD CONSTRAINT no_curse CHECK (status <> 'cursed')")
    with Producer.from_settings() as producer:
        for order_id in (1, 2):
            producer.update(OrderUpdate(order_id=order_id, status="cursed"))
    eventually(lambda: browser.text("#letters [data-figure]") == "2", 30, browser.text("#letters"))
    assert browser.reads("#dead", "Order 2").count("no_curse") == 2
    run_sql(engine, "ALTER TABLE orders DROP CONSTRAINT no_curse")

    browser.one("#dead-list li:first-child input").click()
    browser.press("Replay 1 selected", "#dead")
    browser.reads("#dead-result", "1 update replayed")
    browser.reads("#letters [data-figure]", "1")
    browser.press("Replay all", "#dead")
    browser.reads("#dead", "None.")
    browser.reads("#letters [data-figure]", "0")
    eventually(
        lambda: {row[1] for row in read_orders(engine).values()} == {"cursed"},
        20,
        "they are not applied",
    )


def test_nothing_overflows_a_phone_screen(browser: Browser, tmp_path: Path) -> None:
    browser.resize(PHONE)
    file = write_file(tmp_path / "orders.csv", 10)
    browser.one("#new-import .drop")
    browser.pick(file, "#new-import input[type=file]")
    browser.one(".mapping")
    browser.reads("#services", "postgresql")
    assert browser.run("return scrollX + document.documentElement.scrollWidth <= innerWidth")
    beyond = browser.run(
        "return [...document.querySelectorAll('button, select, input, a, h2')]"
        ".filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.outerHTML)"
    )
    assert [each for each in beyond if "skip" not in each] == []


def test_all_controls_are_reachable_by_keyboard_with_visible_focus(browser: Browser) -> None:
    browser.reads("#services", "postgresql")
    seen: list[str] = []
    while "window" not in seen:
        assert len(seen) < 20, seen
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        focused = browser.driver.switch_to.active_element
        seen.append(focused.get_attribute("class") or focused.get_attribute("name") or "")
        marked = browser.run(
            "const e = document.activeElement, next = e.nextElementSibling ?? e;"
            "return [e, next].some(each => getComputedStyle(each).outlineStyle !== 'none')"
        )
        assert marked, f"the focus is not visible: {seen}"
    assert seen.index("skip") < seen.index("drop") < seen.index("window")


def test_lost_connection_is_shown_and_reconnects_automatically(
    window: Browser, address: str
) -> None:
    with link_to(address) as link:
        window.open(link.url)
        window.reads("#connection", "Live")
        link.refuse_connections(1000)
        link.lose_answers(1000)
        window.reads("#connection", "Reconnecting", within=30)
        window.reads("#alert", "cannot be reached. Trying again.")
        assert link.lost
        link.lose_answers(0)
        link.refuse_connections(0)
        window.reads("#connection", "Live", within=30)
        eventually(lambda: not window.text("#alert"), 15, "the alert is still shown")
        window.open(address)


def test_page_asks_for_a_token_when_required(
    window: Browser, address: str, engine: sa.Engine
) -> None:
    with engine.begin() as connection:
        token = create_token(connection, "page", [Scope.READ])
    try:
        window.open(address)
        window.one("#sign-in[open]", within=30)
        for entered in ("nonsense", token):
            field = window.one("#token")
            field.clear()
            field.send_keys(entered)
            window.press("Sign in", "#sign-in")
            if entered != token:
                window.reads("#sign-in-problem", "not valid")
        eventually(lambda: not window.all("#sign-in[open]"), 15, window.text("#sign-in"))
        window.reads("#connection", "Live")
        assert window.run("return localStorage.length + document.cookie.length") == 0
        window.driver.refresh()
        window.reads("#connection", "Live")
        window.reads("#services", "postgresql")
        assert not window.all("#sign-in[open]"), "a reload asks again"
        window.press("Sign out")
        window.one("#sign-in[open]")
    finally:
        with engine.begin() as connection:
            revoke_token(connection, "page")


def test_read_only_token_gets_message_naming_missing_scope(
    window: Browser, address: str, engine: sa.Engine, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        token = create_token(connection, "reader", [Scope.READ])
    try:
        window.open(address)
        window.one("#sign-in[open]", within=30)
        window.one("#token").send_keys(token)
        window.press("Sign in", "#sign-in")
        # Until the dialog is closed, the page behind it accepts no files.
        eventually(lambda: not window.all("#sign-in[open]"), 15, window.text("#sign-in"))
        window.drop(write_file(tmp_path / "o.csv", 3), "#new-import .drop")
        Select(window.one("select[name=total]")).select_by_value("betrag")
        window.press("Dry run", "#new-import")
        window.reads("#new-import .problem", "no scope enqueue")
    finally:
        with engine.begin() as connection:
            revoke_token(connection, "reader")


def test_late_refusal_of_a_request_without_token_does_not_sign_out(
    window: Browser, address: str, engine: sa.Engine
) -> None:
    """A request that was sent before the token was entered is refused after that."""
    with engine.begin() as connection:
        token = create_token(connection, "late", [Scope.READ])
    window.open("about:blank")
    window.command("Page.addScriptToEvaluateOnNewDocument", source=HOLD_FIRST_STATUS)
    try:
        window.driver.get(address)
        window.one("#sign-in[open]", within=30)
        window.one("#token").send_keys(token)
        window.press("Sign in", "#sign-in")
        window.reads("#connection", "Live")
        assert not window.text("#services .rows"), "the refusal was not held"
        window.run("window.releaseStatus()")
        window.reads("#services", "postgresql")
        assert not window.all("#sign-in[open]"), "the page asks for the token again"
    finally:
        with engine.begin() as connection:
            revoke_token(connection, "late")
