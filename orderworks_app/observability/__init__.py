"""Health and figures of the system: status, doctor and metrics."""
