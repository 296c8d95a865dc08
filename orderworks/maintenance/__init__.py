"""Periodic upkeep: the sweep for lost messages, and the deletion of expired data."""
