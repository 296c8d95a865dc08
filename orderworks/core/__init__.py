"""What every flow rests on: settings, tables, connections, locks, keys, errors. It knows no flow."""
