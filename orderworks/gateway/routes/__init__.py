"""What the gateway answers to, a module a topic."""

from fastapi import APIRouter

from orderworks.gateway.routes import docs, health, orders

ROUTERS: tuple[APIRouter, ...] = (
    orders.router,
    health.router,
    docs.router,
)
"""In the order in which a path is looked for: what is asked most comes first."""

STREAMED = frozenset({"/v1/orders:batch", "/v1/imports"})
"""Paths whose bodies are read piece by piece, under limits of their own, instead of at once."""
