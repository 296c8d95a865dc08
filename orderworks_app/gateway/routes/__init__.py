"""The routes of the gateway, a module for each resource."""

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
"""In the order in which they are matched: the most frequent requests come first."""

STREAMED = frozenset({"/v1/orders:batch", "/v1/imports"})
"""Paths whose bodies are read piece by piece, with limits of their own."""
