"""Base of every flow: settings, tables, connections, locks, keys, errors. It imports no flow."""
