"""The domain: what happens to orders, customers and the reads made of them. It knows no Celery."""
