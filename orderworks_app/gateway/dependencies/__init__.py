"""What routes depend on: the resources of the process, authorization, idempotency, an import."""
