"""What the gateway answers to, a module a topic."""

from fastapi import APIRouter

from orderworks_app.gateway.routes import (
    customers,
    dead,
    docs,
    files,
    health,
    imports,
    metrics,
    orders,
    overview,
    page,
    reports,
)

ROUTERS: tuple[APIRouter, ...] = (
    customers.by_id,
    orders.router,
    files.router,
    imports.router,
    customers.router,
    reports.router,
    dead.router,
    overview.router,
    health.router,
    metrics.router,
    page.router,
    docs.router,
)
"""In the order in which a path is looked for: what is asked most comes first."""

STREAMED = frozenset({"/v1/orders:batch", "/v1/imports"})
"""Paths whose bodies are read piece by piece, under limits of their own, instead of at once."""
