"""HTTP as the gateway speaks it: requests read, responses and problems written, OpenAPI."""
