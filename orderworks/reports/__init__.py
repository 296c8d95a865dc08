"""From the change log to the published report.

The files in the order of the flow: `refresh` runs it; `fold` moves the change log into the `rollups`
(with the SQL of `sums`); `ranking` reads the first customers of a window from them; `publisher` writes
the reports to Redis, where `top_customers` reads them. `reconcile` compares the rollups with the orders,
in recorded runs (`reconcile_runs`), by night or by command (`rebuild`), also after a change of
`excluded_statuses`. `impact` predicts for a dry run which reports would change.
"""
