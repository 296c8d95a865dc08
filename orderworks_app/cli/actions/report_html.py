"""The top-customers report as one self-contained HTML page: no script, no other file.

It can be mailed, opened from a disk or served by any server. Its policy forbids it to load anything.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from html import escape
from string import Template

from orderworks.reports.top_customers import Report, TopCustomer
from orderworks.reports.windows import Window
from orderworks_app.operations.timespans import format_span

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Top customers: $title</title>
<style>
:root { --ground: #ffffff; --text: #1c2024; --quiet: #575e66; --line: #dde1e6; --bar: #2b6cb0; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171a; --text: #e9ecef; --quiet: #a6adb5; --line: #30363d; --bar: #63a4e8; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text);
       font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 56rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { margin: 0; font-size: 1.5rem; line-height: 1.25; }
p { margin: .25rem 0 0; color: var(--quiet); }
table { width: 100%; margin-top: 1.5rem; border-collapse: collapse; }
caption { padding-bottom: .5rem; text-align: left; color: var(--quiet); font-size: .875rem; }
th, td { padding: .5rem 0 .5rem 1rem; border-bottom: 1px solid var(--line); text-align: left;
         vertical-align: top; font-weight: normal; }
th:first-child, td:first-child { padding-left: 0; }
thead th { color: var(--quiet); font-size: .875rem; vertical-align: bottom; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.customer { width: 100%; overflow-wrap: anywhere; }
.id { color: var(--quiet); font-size: .875rem; white-space: nowrap; }
.bar { display: block; height: .5rem; min-width: 2px; margin: .25rem 0; border-radius: 2px;
       background: var(--bar); print-color-adjust: exact; }
time { white-space: nowrap; }
@media (max-width: 30rem) {
  table, caption, thead th, .id { font-size: .8125rem; }
  th, td { padding-left: .5rem; }
}
</style>
</head>
<body>
<main>
<h1>Top customers</h1>
<p>$title</p>
<p>As of $as_of, $age old when this page was written, at $written.</p>
$customers
</main>
</body>
</html>
""")

_TABLE = Template("""\
<table>
<caption>Customers by the total of their orders, the highest first. Bars compare the totals.</caption>
<thead>
<tr><th scope="col" class="number" aria-label="Rank">#</th>
<th scope="col" class="customer">Customer</th>
<th scope="col" class="number">Orders</th><th scope="col" class="number">Total</th></tr>
</thead>
<tbody>
$rows
</tbody>
</table>""")

_ROW = Template("""\
<tr><td class="number">$rank</td>
<th scope="row" class="customer"><bdi>$name</bdi> <span class="id">id $customer_id</span>
<span class="bar" role="img" aria-label="$percent % of the highest" style="width:$percent%"></span></th>
<td class="number">$orders</td><td class="number">$total</td></tr>""")

_NO_CUSTOMERS = "<p>No customer has counted orders in this window.</p>"


def render(report: Report, written: datetime) -> str:
    """The page; the report's age is that at the time `written`."""
    return _PAGE.substitute(
        title=_covered(report.window),
        as_of=_time(report.as_of),
        age=format_span(max(0.0, (written - report.as_of).total_seconds())),
        written=_time(written),
        customers=_table(report.rows) if report.rows else _NO_CUSTOMERS,
    )


def _table(rows: Sequence[TopCustomer]) -> str:
    highest = max(row.total for row in rows) or Decimal(1)
    return _TABLE.substitute(
        rows="\n".join(_row(rank, row, highest) for rank, row in enumerate(rows, 1))
    )


def _row(rank: int, row: TopCustomer, highest: Decimal) -> str:
    return _ROW.substitute(
        rank=rank,
        name=escape(row.name),
        customer_id=row.customer_id,
        percent=f"{100 * row.total / highest:.1f}",
        orders=f"{row.orders:,}",
        total=f"{row.total:,.2f}",
    )


def _covered(window: Window) -> str:
    if window is Window.ALL:
        return "All orders"
    if window.days == 1:
        return "Orders of today, in UTC"
    return f"Orders of the last {window.days} days, today included, in UTC"


def _time(moment: datetime) -> str:
    return f'<time datetime="{moment:%Y-%m-%dT%H:%M:%SZ}">{moment:%Y-%m-%d %H:%M:%S} UTC</time>'
