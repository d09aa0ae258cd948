"""The client: everything that a data scientist does on a server, as methods."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from predictd.client import documents
from predictd.client.connection import Connection, UnansweredError
from predictd.client.credentials import Token, find_access
from predictd.client.datasets import dataset_url, list_datasets
from predictd.client.follow import RunResult, Watch
from predictd.client.models import (
    DataVersion,
    Diagnostics,
    JsonObject,
    LogLine,
    Model,
    Pickle,
    Round,
    Runtime,
    Score,
    Status,
    Submission,
    TokenInfo,
)
from predictd.client.resume import PendingUploads
from predictd.client.selection import (
    RuntimeChooser,
    choose_data_version,
    choose_runtime,
    find_model,
    previous_pickle,
)
from predictd.client.transfer import ShowProgress, download, ignore_progress, target_path
from predictd.client.upload import Target, Uploader, ignore_message
from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.domain.names import CLASSIC

Item = TypeVar("Item")


class Client:
    """Client of a server with Numerai's API: predictd's or Numerai's own.

    Methods raise subclasses of `predictd.domain.errors.PredictdError`: NotAuthenticatedError, MissingScopeError,
    NotFoundError, ConflictError, InvalidInputError and TransferError (network errors; UnansweredError if a change may
    have been made). The `message` of an error includes the remedy.

    Arguments name a model by its name or id, and a pickle by its id or by a model, which stands for its newest pickle.
    """

    def __init__(
        self,
        server: str | None = None,
        token: str | None = None,
        profile: str | None = None,
        *,
        on_progress: ShowProgress = ignore_progress,
        on_message: Callable[[str], None] = ignore_message,
    ) -> None:
        """Find the server and the token, without a request.

        Args:
            server: Address, such as http://127.0.0.1:8000. Default: the profile's, or PREDICTD_SERVER.
            token: `PUBLIC_ID$SECRET_KEY`. Default: PREDICTD_TOKEN, the token of the server's profile, or, only for
                Numerai's own hosts, NUMERAI_PUBLIC_ID and NUMERAI_SECRET_KEY.
            profile: Name of a profile. Default: PREDICTD_PROFILE, or the default profile.
            on_progress: Called with the progress of transfers: name, bytes, total bytes.
            on_message: Called with a line about anything unusual, such as a retry.

        Raises:
            InvalidInputError: No server is configured.
            SetupError: Other users can read the stored token.
        """
        access = find_access(server, token, profile)
        self.server = access.server
        self.profile = access.profile
        self._connection = Connection(access.server, access.token)
        self._on_progress = on_progress
        self._on_message = on_message

    @property
    def token(self) -> Token | None:
        """The token in use; printing it does not show its secret."""
        return self._connection.token

    def close(self) -> None:
        """Close the open connections."""
        self._connection.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def graphql(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send any GraphQL document and return its data."""
        return self._connection.query(query, variables)

    def execute(
        self, query: str, variables: dict[str, Any] | None = None, *, token: Token | None = None
    ) -> dict[str, Any]:
        """Return the whole response, `{"data": ..., "errors": [...]}`; `token` overrides the client's own.

        Raises:
            TransferError: There is no response.
        """
        return self._connection.execute(query, variables, token=token)

    def token_info(self) -> TokenInfo:
        """Return the token's name, scopes and account."""
        return TokenInfo.of(self._connection.query_object(documents.TOKEN_INFO, {}, "apiTokenInfo"))

    def models(self) -> list[Model]:
        """Return the account's models of the classic tournament."""
        account = self._connection.query_object(documents.MODELS, {}, "account")
        models = [Model.of(item) for item in account.get("models") or ()]
        return [model for model in models if model.tournament in (None, CLASSIC)]

    def model(self, name: str) -> Model:
        """Return the model with this name, ignoring case, or id.

        Raises:
            NotFoundError: The account has no such model.
        """
        models = self.models()
        model = find_model(models, name)
        if model is None:
            names = ", ".join(model.name for model in models) or "none"
            raise NotFoundError(f"You have no model {name[:60]!r}. Your models: {names}.")
        return model

    def create_model(self, name: str) -> Model:
        """Create a model, once even if the response is lost.

        Raises:
            ConflictError: The name is taken, or the account has the maximum number of models.
        """
        try:
            self._connection.query(documents.ADD_MODEL, {"name": name, "tournament": CLASSIC})
        except UnansweredError:
            if find_model(self.models(), name) is None:
                raise
        return self.model(name)

    def runtimes(self, *, deprecated: bool = False) -> list[Runtime]:
        """Return the runtimes for new uploads, or the deprecated ones."""
        return self._list(documents.RUNTIMES, {"deprecated": deprecated}, "computePickleDockerImages", Runtime.of)

    def data_versions(self, *, deprecated: bool = False) -> list[DataVersion]:
        """Return the data versions for new uploads, or the deprecated ones."""
        return self._list(
            documents.DATA_VERSIONS, {"deprecated": deprecated}, "computePickleDataVersions", DataVersion.of
        )

    def upload(
        self,
        path: str | Path,
        *,
        model: str | None = None,
        runtime: str | None = None,
        data_version: str | None = None,
        choose: RuntimeChooser | None = None,
    ) -> Pickle:
        """Upload a pickle and register it, which starts its validation.

        Once validated, it is assigned to `model`. After an interruption, repeat the call to resume: an uploaded file is
        not sent again, and nothing is registered twice.

        Args:
            path: The file; its name must end in .pkl.
            model: Name or id of the model to upload for.
            runtime: A Python version (3.12), or a runtime's name, image, tag or id.
            data_version: Name or id.
            choose: Chooses the runtime if `runtime` is None. By default the server chooses.

        Raises:
            InvalidInputError: The file can't be uploaded.
            TransferError: The server is unreachable.
        """
        file = Path(path)
        target = Target(
            model_id=self.model(model).id if model else None,
            runtime_id=self._runtime_id(runtime, file, choose),
            data_version_id=choose_data_version(data_version, self.data_versions()).id if data_version else None,
        )
        uploader = Uploader(
            connection=self._connection,
            pending=PendingUploads.of_user(),
            on_progress=self._on_progress,
            on_message=self._on_message,
        )
        return self._pickle(uploader.upload(file, target))

    def pickles(self, model: str | None = None, *, unassigned: bool = False) -> list[Pickle]:
        """Return the account's pickles, newest first: all, those of a model, or those that are not assigned."""
        return self._pickles(modelId=self.model(model).id if model else None, unassigned=unassigned)

    def status(self, pickle: str) -> Pickle:
        """Return a pickle with the status history of its runs.

        Raises:
            NotFoundError: There is no such pickle.
        """
        model = find_model(self.models(), pickle)
        if model is None:
            return self._pickle(pickle)
        pickles = self._pickles(modelId=model.id)
        if not pickles:
            raise NotFoundError(
                f"Model {model.name} has no pickle. Upload one with: predictd deploy FILE --model {model.name}"
            )
        return pickles[0]

    def assign(self, model: str, pickle: str) -> None:
        """Assign a validated pickle to a model. Idempotent.

        Raises:
            ConflictError: The pickle is not validated, or the model has a webhook.
        """
        self._assign(self.model(model).id, self.status(pickle).id)

    def unassign(self, model: str) -> None:
        """Unassign the pickle of a model. Idempotent."""
        self._assign(self.model(model).id, None)

    def rollback(self, model: str) -> Pickle:
        """Assign the previous pickle of a model again and return it.

        That is the newest validated pickle uploaded for the model or used in its submissions, and older than the
        assigned pickle; the newest of all if none is assigned.

        Raises:
            NotFoundError: There is no previous pickle.
        """
        current = self.model(model)
        previous = previous_pickle(current, self._pickles(), self._submissions(current.id))
        if previous is None:
            raise NotFoundError(f"Model {current.name} has no previous validated pickle to assign.")
        self._assign(current.id, previous.id)
        return self._pickle(previous.id)

    def run_now(self, pickle: str, *, validation: bool = False) -> Pickle:
        """Run a pickle, or the one assigned to a model, now: for the open round, or to validate it again.

        Raises:
            UnansweredError: The run may have been queued. Check the status before you repeat the call.
            NotFoundError: There is no such pickle, or the model has none assigned.
        """
        model = find_model(self.models(), pickle)
        if model is not None and model.pickle_id is None:
            raise NotFoundError(f"Model {model.name} has no assigned pickle. Assign one, or use the id of a pickle.")
        pickle_id = pickle if model is None else str(model.pickle_id)
        self._connection.query(documents.TRIGGER, {"pickleId": pickle_id, "triggerValidation": validation})
        return self._pickle(pickle_id)

    def cancel(self, run_id: str) -> None:
        """Cancel a run that is queued or running. It is not retried, and its log remains. Idempotent.

        Raises:
            ConflictError: The run has ended.
        """
        self._connection.query(documents.CANCEL, {"triggerId": run_id}, is_idempotent=True)

    def fallback(self, model: str, enabled: bool | None = None) -> bool:
        """Return whether the model falls back to its last successful pickle if the assigned one fails; or set it."""
        model_id = self.model(model).id
        if enabled is not None:
            variables = {"modelId": model_id, "fallback": enabled}
            self._connection.query(documents.SET_FALLBACK, variables, is_idempotent=True)
        return bool(self._connection.query_object(documents.FALLBACK, {"modelId": model_id}, "model")["fallback"])

    def download(self, pickle: str, target: str | Path | None = None) -> Path:
        """Download a pickle, by default to its own name in the current folder. Resumes an interrupted download."""
        details = self.status(pickle)
        models = self.models()
        model_id = details.model_id or (models[0].id if models else None)
        if model_id is None:
            raise InvalidInputError("The server requires a model for a download, and you have none. Create one first.")
        auth = self._connection.query_object(
            documents.DOWNLOAD_AUTH, {"modelId": model_id, "pickleId": details.id}, "computePickleDownloadAuth"
        )
        path = target_path(target, details.filename or str(auth.get("filename") or ""))
        download(str(auth["url"]), path, self._on_progress)
        return path

    def logs(self, run_id: str) -> list[LogLine]:
        """Return the log of a run so far."""
        return self._list(documents.TRIGGER_LOGS, {"triggerId": run_id}, "triggerLogs", LogLine.of)

    def diagnostics_logs(self, pickle: str) -> list[LogLine]:
        """Return the logs of a pickle's diagnostics runs."""
        variables = {"pickleId": self.status(pickle).id}
        return self._list(documents.DIAGNOSTICS_LOGS, variables, "diagnosticsTriggerLogs", LogLine.of)

    def follow(
        self, pickle: str, run_id: str | None = None, *, seconds: float | None = None
    ) -> Iterator[Status | LogLine | RunResult]:
        """Yield new statuses and log lines of a run as they come; the last item is the `Run` that has ended.

        Args:
            pickle: Id of a pickle, or name of a model for its newest pickle.
            run_id: Id of the run. Default: the newest.
            seconds: Timeout.

        Raises:
            TransferError: The run has not ended within the timeout, or the server is unreachable.
        """
        pickle_id = self.status(pickle).id
        watch = Watch(pickle=lambda: self._pickle(pickle_id), logs=self.logs, run_id=run_id, seconds=seconds)
        return watch.events()

    def wait(self, pickle: str, run_id: str | None = None, *, seconds: float | None = None) -> RunResult:
        """Wait until a run has ended and return it. The arguments are those of `follow`."""
        runs = [event for event in self.follow(pickle, run_id, seconds=seconds) if isinstance(event, RunResult)]
        return runs[-1]

    def submissions(self, model: str) -> list[Submission]:
        """Return the model's submissions, newest first."""
        return self._submissions(self.model(model).id)

    def download_submission(self, submission_id: str, target: str | Path | None = None) -> Path:
        """Download the predictions of a submission."""
        auth = self._connection.query_object(documents.SUBMISSION_AUTH, {"id": submission_id}, "submissionDownloadAuth")
        path = target_path(target, str(auth.get("filename") or "predictions.csv"))
        download(str(auth["url"]), path, self._on_progress)
        return path

    def rounds(self, limit: int | None = None) -> list[Round]:
        """Return the rounds, newest first."""
        return self._list(documents.ROUNDS, {"tournament": CLASSIC, "limit": limit}, "rounds", Round.of)

    def current_round(self) -> Round:
        """Return the open round.

        Raises:
            ConflictError: No round is open.
        """
        return self._list(documents.ROUNDS, {"tournament": CLASSIC, "number": 0}, "rounds", Round.of)[0]

    def datasets(self) -> list[str]:
        """Return the names of the data files, such as v5.3/live.parquet."""
        return list_datasets(self._connection)

    def download_dataset(self, name: str, target: str | Path | None = None, *, round_number: int | None = None) -> Path:
        """Download a data file, by default to its own name in the current folder.

        Args:
            name: Name of the file, such as v5.3/live.parquet.
            target: Path to save to.
            round_number: Round of live data. Default: the newest.
        """
        url = dataset_url(self._connection, name, round_number)
        path = Path(target) if target is not None else Path(name)
        download(url, path, self._on_progress)
        return path

    def scores(self, model: str, *, name: str | None = None, last_rounds: int | None = None) -> list[Score]:
        """Return the scores of the model's submissions; empty before the first scores."""
        variables = {"modelId": self.model(model).id, "displayName": name, "lastNRounds": last_rounds}
        return self._list(documents.SCORES, variables, "submissionScores", Score.of)

    def diagnostics(self, model: str | None = None) -> list[Diagnostics]:
        """Return metrics on validation data, newest first: all, or those of a model."""
        variables = {"modelId": self.model(model).id if model else None}
        return self._list(documents.DIAGNOSTICS, variables, "diagnostics", Diagnostics.of)

    def _runtime_id(self, name: str | None, file: Path, choose: RuntimeChooser | None) -> str | None:
        if name is None and choose is None:
            return None
        runtimes = self.runtimes()
        if name is not None:
            return choose_runtime(name, runtimes).id
        chosen = choose(file, runtimes) if choose is not None else None
        return chosen.id if chosen is not None else None

    def _pickle(self, pickle_id: str) -> Pickle:
        pickles = self._pickles(id=pickle_id)
        if not pickles:
            raise NotFoundError(f"You have no pickle or model {pickle_id[:64]!r}. List both with: predictd list")
        return pickles[0]

    def _pickles(self, **variables: Any) -> list[Pickle]:
        variables = {"unassigned": False, **variables}
        data = self._connection.query_extended(documents.PICKLES_WITH_CODES, documents.PICKLES, variables)
        pickles = [Pickle.of(item) for item in data.get("computePickles") or ()]
        return sorted(pickles, key=lambda item: item.inserted_at.timestamp() if item.inserted_at else 0.0, reverse=True)

    def _submissions(self, model_id: str) -> list[Submission]:
        return self._list(documents.SUBMISSIONS, {"modelId": model_id}, "submissions", Submission.of)

    def _assign(self, model_id: str, pickle_id: str | None) -> None:
        self._connection.query(documents.ASSIGN, {"modelId": model_id, "pickleId": pickle_id}, is_idempotent=True)

    def _list(
        self, query: str, variables: dict[str, Any], field: str, parse: Callable[[JsonObject], Item]
    ) -> list[Item]:
        return [parse(item) for item in self._connection.query(query, variables).get(field) or ()]
