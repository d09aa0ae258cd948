"""The GraphQL documents of the tools for what predictd's servers have beyond the contract."""

CANCEL = """mutation($triggerId: ID!) {
  cancelComputePickleTrigger(triggerId: $triggerId) {
    id status failureCode roundId statuses { status code description insertedAt }
  }
}"""
