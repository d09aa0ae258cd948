"""Resolvers of the contract, a module per noun. Objects are dicts whose values may be callables."""

from predictd.api.graphql.resolvers import (
    accounts,
    data,
    diagnostics,
    leaderboards,
    models,
    notifications,
    pickles,
    records,
    rounds,
    scores,
    submissions,
)

BINDABLES = [
    bindable
    for module in (
        accounts,
        data,
        diagnostics,
        leaderboards,
        models,
        notifications,
        pickles,
        records,
        rounds,
        scores,
        submissions,
    )
    for bindable in (module.query, module.mutation)
]
