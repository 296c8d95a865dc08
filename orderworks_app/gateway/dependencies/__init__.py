"""What routes ask for before they begin: authorization, idempotency, an import, its rejects."""
