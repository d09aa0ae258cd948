"""The wire contract: `schema.graphql`, the leniencies of real clients, execution, and resolvers by noun."""
