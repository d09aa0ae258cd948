"""The GraphQL documents of the client. All are valid in Numerai's schema, except those named in `EXTENSIONS`."""

_TRIGGER = """id status type roundId submissionId insertedAt
    statuses { id status description insertedAt }"""

_PICKLE = f"""id filename label version modelId assignedModelSlots dockerImageId dockerImageName runtime
    dataVersionId dataVersion validationStatus diagnosticsStatus insertedAt triggers {{ {_TRIGGER} }}"""

TOKEN_INFO = "query { apiTokenInfo { name publicId scopes accountUsername } }"  # noqa: S105

MODELS = """query {
  account { models {
    id name tournament archived submissionWebhook insertedAt computePickleUpload { id filename }
  } }
}"""

ADD_MODEL = """mutation($name: String!, $tournament: Int!) {
  addModel(name: $name, tournament: $tournament) { id name }
}"""

RUNTIMES = """query($deprecated: Boolean) {
  computePickleDockerImages(deprecated: $deprecated) { id name image tag default deprecated experimental }
}"""

DATA_VERSIONS = """query($deprecated: Boolean!) {
  computePickleDataVersions(deprecated: $deprecated) { id name version default deprecated experimental }
}"""

UPLOAD_AUTH = """query($filename: String, $modelId: ID) {
  computePickleUploadAuth(filename: $filename, modelId: $modelId) { filename url }
}"""

CREATE_PICKLE = """mutation(
  $filename: String!, $tournament: Int!, $modelId: ID, $dockerImageId: ID, $dataVersionId: ID, $source: String
) {
  createComputePickleUpload(
    filename: $filename, tournament: $tournament, modelId: $modelId, dockerImageId: $dockerImageId,
    dataVersionId: $dataVersionId, source: $source
  ) { id }
}"""

PICKLE_NAMES = "query($modelId: ID) { computePickles(modelId: $modelId) { id filename } }"

PICKLES = f"""query($id: ID, $modelId: ID, $unassigned: Boolean!) {{
  computePickles(id: $id, modelId: $modelId, unassigned: $unassigned) {{ {_PICKLE} }}
}}"""

ASSIGN = """mutation($modelId: String, $pickleId: ID) {
  assignPickleToModel(modelId: $modelId, pickleId: $pickleId)
}"""

TRIGGER = """mutation($pickleId: ID, $triggerValidation: Boolean) {
  triggerComputePickleUpload(pickleId: $pickleId, triggerValidation: $triggerValidation) { id }
}"""

TRIGGER_LOGS = "query($triggerId: ID!) { triggerLogs(triggerId: $triggerId) { timestamp message } }"

RUN_RECORD = """query($triggerId: ID!, $attempt: Int) {
  runRecord(triggerId: $triggerId, attempt: $attempt) {
    triggerId attempt outcome insertedAt pickleSha256 featuresSha256 benchmarksSha256 outputSha256
    runtime python runtimeLockSha256 interpreterSha256 version sourceSha256 sandbox forked trees seed hashSeed
    cpus memoryBytes seconds processes scratchBytes outputBytes
    processor processorFlags architecture kernel libc threads
  }
}"""

DIAGNOSTICS_LOGS = "query($pickleId: ID!) { diagnosticsTriggerLogs(pickleId: $pickleId) { timestamp message } }"

DOWNLOAD_AUTH = """query($modelId: ID!, $pickleId: ID) {
  computePickleDownloadAuth(modelId: $modelId, pickleId: $pickleId) { filename url }
}"""

SUBMISSIONS = """query($modelId: ID) {
  submissions(modelId: $modelId) { id filename status selected triggerId notes insertedAt round { number } }
}"""

SUBMISSION_AUTH = "query($id: ID!) { submissionDownloadAuth(id: $id) { filename url } }"

ROUNDS = """query($tournament: Int, $number: Int, $limit: Int) {
  rounds(tournament: $tournament, number: $number, limit: $limit) {
    id number openTime closeTime scoreTime resolveTime resolvedGeneral
  }
}"""

DATASETS = "query($tournament: Int) { listDatasets(tournament: $tournament) }"

DATASET = """query($filename: String!, $round: Int, $tournament: Int) {
  dataset(filename: $filename, round: $round, tournament: $tournament)
}"""

SCORES = """query($modelId: ID!, $displayName: String, $lastNRounds: Int) {
  submissionScores(modelId: $modelId, displayName: $displayName, lastNRounds: $lastNRounds) {
    submissionId roundNumber displayName value percentile day date resolved
  }
}"""

DIAGNOSTICS_METRICS = (
    "examplePredsCorrMean",
    "validationCorrMean",
    "validationCorrStd",
    "validationCorrSharpe",
    "validationCorrMaxDrawdown",
    "validationMmcMean",
    "validationMmcStd",
    "validationMmcSharpe",
    "validationBmcMean",
    "validationCorrPlusMmcMean",
    "validationCorrPlusMmcSharpe",
    "validationFeatureNeutralCorrMean",
    "validationFeatureNeutralCorrV3Mean",
    "validationFeatureCorrMax",
    "validationMaxDrawdown",
    "validationApy",
    "validationAutocorr",
    "validationAdjustedSharpe",
    "validationChurnMean",
    "validationTurnoverMean",
)

DIAGNOSTICS = f"""query($id: ID, $modelId: ID) {{
  diagnostics(id: $id, modelId: $modelId) {{
    id filename status message computePickleUploadId insertedAt {" ".join(DIAGNOSTICS_METRICS)}
  }}
}}"""

# Documents for predictd's extensions of the schema; other servers respond with an error.

PICKLES_WITH_CODES = PICKLES.replace(
    "statuses { id status description ", "statuses { id status description code facts "
)

CANCEL = "mutation($triggerId: ID!) { cancelComputePickleTrigger(triggerId: $triggerId) { id status } }"

SET_FALLBACK = """mutation($modelId: ID!, $fallback: Boolean!) {
  setModelFallback(modelId: $modelId, fallback: $fallback) { id fallback }
}"""

FALLBACK = "query($modelId: ID) { model(modelId: $modelId) { id fallback } }"

EXTENSIONS = ("PICKLES_WITH_CODES", "CANCEL", "SET_FALLBACK", "FALLBACK")
