"""The GraphQL operations of the tools; each tool returns what its operation selects."""

CREDENTIALS = "query { apiTokenInfo { name publicId scopes accountUsername } }"

ADD_MODEL = """mutation($name: String!, $tournament: Int!) {
  addModel(name: $name, tournament: $tournament) { id name tournament }
}"""

UPLOAD_AUTH = """query($filename: String, $modelId: ID) {
  computePickleUploadAuth(filename: $filename, modelId: $modelId) { filename url }
}"""

_PICKLE = """id filename label modelId assignedModelSlots dockerImageId dockerImageName dataVersionId dataVersion
    validationStatus triggerStatus diagnosticsStatus insertedAt
    triggers { id type status roundId submissionId insertedAt statuses { status description insertedAt } }"""

CREATE = f"""mutation(
  $filename: String!, $tournament: Int!, $modelId: ID, $dockerImageId: ID, $dataVersionId: ID, $source: String
) {{
  createComputePickleUpload(
    filename: $filename, tournament: $tournament, modelId: $modelId, dockerImageId: $dockerImageId,
    dataVersionId: $dataVersionId, source: $source
  ) {{ {_PICKLE} }}
}}"""

PICKLES = f"""query($id: ID, $modelId: ID, $unassigned: Boolean!) {{
  computePickles(id: $id, modelId: $modelId, unassigned: $unassigned) {{ {_PICKLE} }}
}}"""

ASSIGN = """mutation($modelId: String, $pickleId: ID) {
  assignPickleToModel(modelId: $modelId, pickleId: $pickleId)
}"""

TRIGGER = f"""mutation($modelId: ID, $pickleId: ID, $triggerValidation: Boolean) {{
  triggerComputePickleUpload(
    modelId: $modelId, pickleId: $pickleId, triggerValidation: $triggerValidation
  ) {{ {_PICKLE} }}
}}"""

# An extension of the contract.
CANCEL = """mutation($triggerId: ID!) {
  cancelComputePickleTrigger(triggerId: $triggerId) {
    id status failureCode roundId statuses { status code description insertedAt }
  }
}"""

LOGS = "query($triggerId: ID!) { triggerLogs(triggerId: $triggerId) { timestamp message } }"

DIAGNOSTICS_LOGS = "query($pickleId: ID!) { diagnosticsTriggerLogs(pickleId: $pickleId) { timestamp message } }"

DATA_VERSIONS = "query { computePickleDataVersions { id name version default deprecated experimental } }"

DOCKER_IMAGES = "query { computePickleDockerImages { id name image tag default deprecated experimental } }"

TOURNAMENTS = "query { tournaments { id name tournament active } }"

CURRENT_ROUND = """query($tournament: Int) {
  rounds(tournament: $tournament, number: 0) { id number tournament target openTime closeTime scoreTime resolveTime }
}"""

DATASETS = "query($tournament: Int) { listDatasets(tournament: $tournament) }"

LEADERBOARD = """query($tournament: Int, $limit: Int, $offset: Int) {
  accountLeaderboard(tournament: $tournament, limit: $limit, offset: $offset) {
    id username displayName rank corr corrV4 v2Corr20 mmc bmc fncV3 return1y return3m returnAllTime
  }
}"""

MODEL_NAME = "query($modelId: ID) { model(modelId: $modelId) { id name } }"

MODEL_ID = "query($modelName: String!) { v3UserProfile(modelName: $modelName) { id } }"

PROFILE = """query($modelName: String!) {
  v3UserProfile(modelName: $modelName) {
    id username accountName bio linkText linkUrl startDate tournament isActive computeEnabled computeLiteEnabled
    latestSubmissionScores { roundNumber displayName value percentile day resolved }
    latestUserScores { displayName date rank reputation }
  }
}"""

PERFORMANCE = """query($modelId: ID!, $lastNRounds: Int) {
  v2RoundModelPerformances(modelId: $modelId, lastNRounds: $lastNRounds) {
    roundNumber roundOpenTime roundScoreTime roundResolveTime roundResolved submissionId
    submissionScores { displayName value percentile day date resolved }
  }
}"""

DIAGNOSTICS_AUTH = """query($filename: String!, $tournament: Int!, $modelId: ID) {
  diagnosticsUploadAuth(filename: $filename, tournament: $tournament, modelId: $modelId) { filename url }
}"""

CREATE_DIAGNOSTICS = """mutation($filename: String!, $tournament: Int!, $modelId: ID) {
  createDiagnostics(filename: $filename, tournament: $tournament, modelId: $modelId) { id filename status message }
}"""

DIAGNOSTICS = """query($modelId: ID) {
  diagnostics(modelId: $modelId) {
    id filename status message computePickleUploadId insertedAt erasAcceptedCount examplePredsCorrMean
    validationCorrMean validationCorrStd validationCorrSharpe validationCorrMaxDrawdown
    validationMmcMean validationMmcStd validationMmcSharpe validationBmcMean
    validationCorrPlusMmcMean validationCorrPlusMmcSharpe
    validationFeatureNeutralCorrMean validationFeatureNeutralCorrV3Mean validationFeatureCorrMax
    validationMaxDrawdown validationApy validationChurnMean validationTurnoverMean
  }
}"""

DELETE_DIAGNOSTICS = "mutation($ids: [String]!) { deleteDiagnostics(v2DiagnosticsIds: $ids) }"
