"""Limits of the values that columns hold; a total is below `MAX_TOTAL`."""

from decimal import Decimal

MAX_BIGINT = 2**63 - 1
MAX_TOTAL = Decimal(10) ** 12
MAX_STATUS = 64
