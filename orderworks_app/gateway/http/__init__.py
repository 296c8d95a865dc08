"""HTTP conventions of the gateway: middleware, bodies, responses, problems, pages, OpenAPI."""
