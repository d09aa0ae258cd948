"""The client: what a data scientist does with a server, as methods."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from predictd.client import documents, extensions
from predictd.client.connection import Connection, UnansweredError
from predictd.client.credentials import Token, find_access
from predictd.client.datasets import dataset_url, list_datasets
from predictd.client.follow import Run, Watch
from predictd.client.history import previous_pickle
from predictd.client.models import (
    DataVersion,
    Diagnostics,
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
from predictd.client.selection import choose_data_version, choose_runtime, model_named
from predictd.client.transfer import ShowProgress, download, place_for
from predictd.client.upload import Target, Uploader
from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.domain.names import CLASSIC

RuntimeChooser = Callable[[Path, Sequence[Runtime]], Runtime | None]
"""Answers the runtime that fits a pickle, None where it can't tell."""


def show_nothing(_name: str, _arrived: int, _total: int | None) -> None:
    """Shows no progress."""


def say_nothing(_line: str) -> None:
    """Says nothing."""


class Client:
    """Speaks with any server of the contract: predictd's or Numerai's.

    Every method raises a `predictd.domain.errors.PredictdError` of a kind: NotAuthenticatedError, MissingScopeError,
    NotFoundError, ConflictError, InvalidInputError, TransferError (the network, with UnansweredError where a change may
    have been made). Its `message` names the remedy.

    Models are named by name or id, pickles by id or by the model whose newest pickle is meant.
    """

    def __init__(
        self,
        server: str | None = None,
        token: str | None = None,
        profile: str | None = None,
        *,
        show: ShowProgress = show_nothing,
        say: Callable[[str], None] = say_nothing,
    ) -> None:
        """Find the server and the token; nothing is asked yet.

        Args:
            server: address, such as http://127.0.0.1:8000; else that of the profile, or PREDICTD_SERVER.
            token: `PUBLIC_ID$SECRET_KEY`; else of PREDICTD_TOKEN, of the server's profile, or, for Numerai's own hosts
                alone, of NUMERAI_PUBLIC_ID and NUMERAI_SECRET_KEY.
            profile: name of a profile; else PREDICTD_PROFILE, or the default one.
            show: told the progress of transfers: name, bytes, total.
            say: told in a line what is out of the ordinary.

        Raises:
            InvalidInputError: no server is named.
            SetupError: a token is kept where others can read it.
        """
        access = find_access(server, token, profile)
        self.server = access.server
        self.profile = access.profile
        self._connection = Connection(access.server, access.token)
        self._show = show
        self._say = say

    @property
    def token(self) -> Token | None:
        """The token in use; its secret is not shown when it is printed."""
        return self._connection.token

    def close(self) -> None:
        """Let go of the open connections."""
        self._connection.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def graphql(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """The data that the server answers to any GraphQL document."""
        return self._connection.ask(query, variables)

    def execute(
        self, query: str, variables: dict[str, Any] | None = None, *, token: Token | None = None
    ) -> dict[str, Any]:
        """The whole answer, `{"data": ..., "errors": [...]}`; with another token than the client's own, if given.

        Raises:
            TransferError: there is no answer.
        """
        return self._connection.execute(query, variables, token=token)

    def token_info(self) -> TokenInfo:
        """The token's name, scopes and account."""
        return TokenInfo.of(self._connection.ask_for(documents.TOKEN_INFO, {}, "apiTokenInfo"))

    # Models

    def models(self) -> list[Model]:
        """The account's models of the classic tournament."""
        account = self._connection.ask_for(documents.MODELS, {}, "account")
        models = [Model.of(one) for one in account.get("models") or ()]
        return [one for one in models if one.tournament in (None, CLASSIC)]

    def model(self, name: str) -> Model:
        """The model of that name, in whatever case, or id.

        Raises:
            NotFoundError: the account has no such model.
        """
        models = self.models()
        found = model_named(models, name)
        if found is None:
            known = ", ".join(one.name for one in models) or "none"
            raise NotFoundError(f"There is no model {name[:60]!r} of yours; there are: {known}.")
        return found

    def create_model(self, name: str) -> Model:
        """Make a model; it is made once, also where the answer is lost.

        Raises:
            ConflictError: the name is taken, or the account has no slot left.
        """
        try:
            self._connection.ask(documents.ADD_MODEL, {"name": name, "tournament": CLASSIC})
        except UnansweredError:
            if model_named(self.models(), name) is None:
                raise
        return self.model(name)

    # What a pickle can be uploaded for

    def runtimes(self, *, deprecated: bool = False) -> list[Runtime]:
        """The runtimes for new uploads, or those that are not offered any more."""
        found = self._many(documents.RUNTIMES, {"deprecated": deprecated}, "computePickleDockerImages")
        return [Runtime.of(one) for one in found]

    def data_versions(self, *, deprecated: bool = False) -> list[DataVersion]:
        """The data versions for new uploads, or those that are not offered any more."""
        found = self._many(documents.DATA_VERSIONS, {"deprecated": deprecated}, "computePickleDataVersions")
        return [DataVersion.of(one) for one in found]

    # Pickles

    def upload(
        self,
        path: str | Path,
        *,
        model: str | None = None,
        runtime: str | None = None,
        data_version: str | None = None,
        choose: RuntimeChooser | None = None,
    ) -> Pickle:
        """Send a pickle and register it, which starts its validation.

        Uploaded for a model it takes the model's slot once it is validated. Cut off, the same call goes on from where
        it was: what has arrived is not sent again, and nothing is registered twice.

        Args:
            path: the file, whose name ends in .pkl.
            model: name or id of the model it is for; None for none.
            runtime: a Python (3.12), or a runtime's name, image, tag or id.
            data_version: name or id.
            choose: chooses the runtime where none is named; without it the server takes its default.

        Raises:
            InvalidInputError: the file can't be uploaded.
            TransferError: the server can't be reached.
        """
        file = Path(path)
        target = Target(
            model_id=self.model(model).id if model else None,
            runtime_id=self._runtime_id(runtime, file, choose),
            data_version_id=choose_data_version(data_version, self.data_versions()).id if data_version else None,
        )
        uploader = Uploader(
            connection=self._connection, pending=PendingUploads.of_user(), show=self._show, say=self._say
        )
        return self._pickle(uploader.upload(file, target))

    def pickles(self, model: str | None = None, *, unassigned: bool = False) -> list[Pickle]:
        """The account's pickles, newest first: all, those of a model, or those that sit in no slot."""
        return self._pickles(modelId=self.model(model).id if model else None, unassigned=unassigned)

    def status(self, pickle: str) -> Pickle:
        """A pickle with its triggers and their histories; a model's name means its newest pickle.

        Raises:
            NotFoundError: there is none.
        """
        model = model_named(self.models(), pickle)
        if model is None:
            return self._pickle(pickle)
        found = self._pickles(modelId=model.id)
        if not found:
            raise NotFoundError(
                f"Model {model.name} has no pickle; upload one with: predictd deploy FILE --model {model.name}"
            )
        return found[0]

    def assign(self, model: str, pickle: str) -> None:
        """Put a validated pickle into the model's slot; harmless where it is in already.

        Raises:
            ConflictError: it is not validated, or the model has a webhook.
        """
        self._assign(self.model(model).id, self.status(pickle).id)

    def unassign(self, model: str) -> None:
        """Empty the model's slot; harmless where it is empty."""
        self._assign(self.model(model).id, None)

    def rollback(self, model: str) -> Pickle:
        """Put the pickle back that served the model before the one that does now; answers it.

        That is the newest validated one, uploaded for the model or submitted by it, that is older than the assigned
        one; for an empty slot the newest of all.

        Raises:
            NotFoundError: there is none.
        """
        slot = self.model(model)
        earlier = previous_pickle(slot, self._pickles(), self._submissions(slot.id))
        if earlier is None:
            raise NotFoundError(f"Model {slot.name} has no earlier validated pickle to go back to.")
        self._assign(slot.id, earlier.id)
        return self._pickle(earlier.id)

    def trigger(self, pickle: str, *, validation: bool = False) -> Pickle:
        """Run a pickle now: for the open round, or for validation again. A model's name means the pickle in its slot.

        Raises:
            UnansweredError: it may have been triggered; look at its status before you repeat it.
            NotFoundError: there is no such pickle, or the model's slot is empty.
        """
        model = model_named(self.models(), pickle)
        if model is not None and model.pickle_id is None:
            raise NotFoundError(f"Model {model.name} has no pickle assigned; assign one, or name a pickle's id.")
        pickle_id = pickle if model is None else str(model.pickle_id)
        self._connection.ask(documents.TRIGGER, {"pickleId": pickle_id, "triggerValidation": validation})
        return self._pickle(pickle_id)

    def cancel(self, trigger_id: str) -> None:
        """End a run that waits or runs; it is never run again, and its log is kept. Again is harmless.

        Raises:
            ConflictError: it has ended.
        """
        self._connection.ask(extensions.CANCEL, {"triggerId": trigger_id}, repeats=True)

    def fallback(self, model: str, wanted: bool | None = None) -> bool:
        """Whether the model's last good pickle runs for a round when the assigned one has failed; `wanted` sets it."""
        slot = self.model(model).id
        if wanted is not None:
            self._connection.ask(extensions.SET_FALLBACK, {"modelId": slot, "fallback": wanted}, repeats=True)
        return bool(self._connection.ask_for(extensions.FALLBACK, {"modelId": slot}, "model")["fallback"])

    def download(self, pickle: str, target: str | Path | None = None) -> Path:
        """Save a pickle's file, by default under its own name here; goes on where an earlier attempt broke off."""
        found = self.status(pickle)
        models = self.models()
        owner = found.model_id or (models[0].id if models else None)
        if owner is None:
            raise InvalidInputError("The server gives pickles to models only, and there is none; make one first.")
        auth = self._connection.ask_for(
            documents.DOWNLOAD_AUTH, {"modelId": owner, "pickleId": found.id}, "computePickleDownloadAuth"
        )
        path = place_for(target, found.filename or str(auth.get("filename") or ""))
        download(str(auth["url"]), path, self._show)
        return path

    # Runs

    def logs(self, trigger_id: str) -> list[LogLine]:
        """What the model has printed in a run so far, in order."""
        return [LogLine.of(one) for one in self._many(documents.TRIGGER_LOGS, {"triggerId": trigger_id}, "triggerLogs")]

    def diagnostics_logs(self, pickle: str) -> list[LogLine]:
        """What the model has printed in its diagnostics."""
        variables = {"pickleId": self.status(pickle).id}
        return [LogLine.of(one) for one in self._many(documents.DIAGNOSTICS_LOGS, variables, "diagnosticsTriggerLogs")]

    def follow(
        self, pickle: str, trigger_id: str | None = None, *, seconds: float | None = None
    ) -> Iterator[Status | LogLine | Run]:
        """Each new status and line of a run as it comes, until the run has ended: that is the last item.

        Args:
            pickle: a pickle's id, or a model's name for its newest.
            trigger_id: which of its runs; by default the newest.
            seconds: gives up after so long.

        Raises:
            TransferError: the run has not ended in time, or the server can't be reached.
        """
        pickle_id = self.status(pickle).id
        watch = Watch(pickle=lambda: self._pickle(pickle_id), logs=self.logs, trigger_id=trigger_id, seconds=seconds)
        return watch.events()

    def wait(self, pickle: str, trigger_id: str | None = None, *, seconds: float | None = None) -> Run:
        """Wait until a run has ended; answers how. The arguments are those of `follow`."""
        ended = [event for event in self.follow(pickle, trigger_id, seconds=seconds) if isinstance(event, Run)]
        return ended[-1]

    # Rounds, data, results

    def submissions(self, model: str) -> list[Submission]:
        """The model's submissions, newest first."""
        return self._submissions(self.model(model).id)

    def download_submission(self, submission_id: str, target: str | Path | None = None) -> Path:
        """Save the predictions of a submission."""
        auth = self._connection.ask_for(documents.SUBMISSION_AUTH, {"id": submission_id}, "submissionDownloadAuth")
        path = place_for(target, str(auth.get("filename") or "predictions.csv"))
        download(str(auth["url"]), path, self._show)
        return path

    def rounds(self, limit: int | None = None) -> list[Round]:
        """The rounds, newest first."""
        found = self._many(documents.ROUNDS, {"tournament": CLASSIC, "limit": limit}, "rounds")
        return [Round.of(one) for one in found]

    def current_round(self) -> Round:
        """The open round.

        Raises:
            ConflictError: no round is open.
        """
        return Round.of(self._many(documents.ROUNDS, {"tournament": CLASSIC, "number": 0}, "rounds")[0])

    def datasets(self) -> list[str]:
        """The names of the data files, such as v5.3/live.parquet."""
        return list_datasets(self._connection)

    def download_dataset(self, name: str, target: str | Path | None = None, *, round_number: int | None = None) -> Path:
        """Save a data file, by default under its name here; of live data that of a round, else the newest."""
        url = dataset_url(self._connection, name, round_number)
        path = Path(target) if target is not None else Path(name)
        download(url, path, self._show)
        return path

    def scores(self, model: str, *, name: str | None = None, last_rounds: int | None = None) -> list[Score]:
        """The scores of the model's submissions; empty as long as none is scored."""
        variables = {"modelId": self.model(model).id, "displayName": name, "lastNRounds": last_rounds}
        return [Score.of(one) for one in self._many(documents.SCORES, variables, "submissionScores")]

    def diagnostics(self, model: str | None = None) -> list[Diagnostics]:
        """Figures on validation data, newest first: all, or those of a model."""
        variables = {"modelId": self.model(model).id if model else None}
        return [Diagnostics.of(one) for one in self._many(documents.DIAGNOSTICS, variables, "diagnostics")]

    def _runtime_id(self, wanted: str | None, file: Path, choose: RuntimeChooser | None) -> str | None:
        if wanted is None and choose is None:
            return None
        runtimes = self.runtimes()
        if wanted is not None:
            return choose_runtime(wanted, runtimes).id
        chosen = choose(file, runtimes) if choose is not None else None
        return chosen.id if chosen is not None else None

    def _pickle(self, pickle_id: str) -> Pickle:
        found = self._pickles(id=pickle_id)
        if not found:
            raise NotFoundError(f"There is no pickle or model {pickle_id[:64]!r} of yours; `predictd list` shows both.")
        return found[0]

    def _pickles(self, **variables: Any) -> list[Pickle]:
        variables = {"unassigned": False, **variables}
        data = self._connection.ask_extended(extensions.PICKLES, documents.PICKLES, variables)
        pickles = [Pickle.of(pickle) for pickle in data.get("computePickles") or ()]
        return sorted(pickles, key=lambda one: one.inserted_at.timestamp() if one.inserted_at else 0.0, reverse=True)

    def _submissions(self, model_id: str) -> list[Submission]:
        return [Submission.of(one) for one in self._many(documents.SUBMISSIONS, {"modelId": model_id}, "submissions")]

    def _assign(self, model_id: str, pickle_id: str | None) -> None:
        self._connection.ask(documents.ASSIGN, {"modelId": model_id, "pickleId": pickle_id}, repeats=True)

    def _many(self, query: str, variables: dict[str, Any], field: str) -> list[Any]:
        return list(self._connection.ask(query, variables).get(field) or ())
