"""The ASGI application: GraphQL, transfers, health. It shows and asks; the rules live below."""
