"""Limits of what a column can hold."""

from decimal import Decimal

MAX_BIGINT = 2**63 - 1
MAX_TOTAL = Decimal(10) ** 12
MAX_STATUS = 64
