"""The GraphQL documents for what predictd's servers have beyond the contract; others answer them with an error."""

from predictd.client import documents

PICKLES = documents.PICKLES.replace("statuses { id status description ", "statuses { id status description code facts ")

CANCEL = "mutation($triggerId: ID!) { cancelComputePickleTrigger(triggerId: $triggerId) { id status } }"

SET_FALLBACK = """mutation($modelId: ID!, $fallback: Boolean!) {
  setModelFallback(modelId: $modelId, fallback: $fallback) { id fallback }
}"""

FALLBACK = "query($modelId: ID) { model(modelId: $modelId) { id fallback } }"
