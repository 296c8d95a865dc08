"""Benchmarks of reports and of the change log behind them."""
