"""What the web pages and the API share: services and request context, authentication, rate limits, request bodies."""
