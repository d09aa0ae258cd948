"""The GraphQL documents for what predictd's servers have beyond the contract; others answer them with an error."""

CANCEL = "mutation($triggerId: ID!) { cancelComputePickleTrigger(triggerId: $triggerId) { id status } }"

SET_FALLBACK = """mutation($modelId: ID!, $fallback: Boolean!) {
  setModelFallback(modelId: $modelId, fallback: $fallback) { id fallback }
}"""

FALLBACK = "query($modelId: ID) { model(modelId: $modelId) { id fallback } }"
