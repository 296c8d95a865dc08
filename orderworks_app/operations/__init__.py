"""What people do to imports, and how they name times."""
