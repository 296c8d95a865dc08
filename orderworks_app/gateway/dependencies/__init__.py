"""Dependencies of routes: the resources of the process, authorization, idempotency, an import."""
