"""The domain: updates and imports of orders and customers, cached reads, reports. Imports no Celery."""
