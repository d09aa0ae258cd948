"""A model tried as the server would run it: run again, with rows in another order, on a few eras and on one of them.

The model is run five times, each time in a new process: on live data twice and once more with its rows shuffled, on the
few eras one after the other, and on the last of these alone. What must not matter is compared prediction by
prediction. Values of an era may depend on all of its rows, as a ranking's do; so no run has but a part of an era.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from predictd.domain.failures import ModelFailure
from predictd.domain.findings import Finding, Level, passed
from predictd.domain.limits import Limits
from predictd.domain.runs import Predictions, RunReport
from predictd.local_run.compare_runs import agreement
from predictd.local_run.cost_estimate import Forecast, calibrate, forecast
from predictd.local_run.test_data import TrialData
from predictd.local_run.test_findings import (
    about_alone,
    about_failure,
    about_figures,
    about_forecast,
    about_memory,
    about_order,
    about_repeat,
    about_stand_in,
    about_time,
)
from predictd.scoring import check_submission
from predictd.scoring.metrics import Diagnostics
from predictd.scoring.validation import ValidationData

RUNS = 5

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run of a trial.

    Attributes:
        number: of `RUNS`, from 1.
        title: what it is for, for a person: 'live data, 6500 rows'.
        features: the features, of one era or several.
        benchmarks: the benchmark models of at least the same ids.
        seconds: how many times the limit of the time it may take.
        is_validation: whether the features are of the validation data, with targets that the model must not see.
    """

    number: int
    title: str
    features: Path
    benchmarks: Path | None
    seconds: int = 1
    is_validation: bool = False


Run = Callable[[Step], RunReport]


@dataclass(kw_only=True)
class Trial:
    """What a trial has found so far; later parts need what earlier ones answered.

    Attributes:
        data: what the model is tried on.
        limits: of a run on live data.
        run: runs the model.
        findings: a line for each point, in order.
        report: the first run on live data, once it made a valid submission.
        figures: the figures of the few eras, once they are measured.
        forecast: for the server, once there is one.
    """

    data: TrialData
    limits: Limits
    run: Run
    findings: list[Finding] = field(default_factory=list)
    report: RunReport | None = None
    figures: Diagnostics | None = None
    forecast: Forecast | None = None

    @property
    def is_failed(self) -> bool:
        """Whether a point fails."""
        return any(one.level is Level.FAIL for one in self.findings)

    def try_live(self) -> bool:
        """The submission, and whether it comes out the same again and with the rows in another order.

        Answers whether there was a valid submission; else there is nothing more to try.
        """
        data = self.data
        rows = len(data.live_ids)
        called = f"era {data.eras[-1]} in place of live data" if data.is_stand_in else "live data"
        step = Step(
            number=1,
            title=f"{called}, {rows} rows",
            features=data.live,
            benchmarks=data.live_benchmarks,
            is_validation=data.is_stand_in,
        )
        report = self.run(step)
        first = self._valid("submission", report, data.live_ids, is_validation=data.is_stand_in)
        if first is None:
            return False
        values = np.asarray(first.values)
        span = f"{values.min():.3g} to {values.max():.3g}"
        self._add(passed("submission", f"Valid: {rows} predictions for {rows} ids of {called}, {span}."))
        if data.is_stand_in:
            self._add(about_stand_in(data.eras[-1]))
        self._try_again(step, first)
        self.report = report
        return True

    def _try_again(self, step: Step, first: Predictions) -> None:
        report = self.run(replace(step, number=2, title="the same again"))
        again = self._valid("repeat", report, self.data.live_ids, is_validation=step.is_validation)
        if again is None:
            return
        repeated = about_repeat(agreement(first, again))
        self._add(repeated)
        if repeated.level is not Level.PASS:
            # What differs from run to run differs whatever is done to the rows.
            return
        shuffled = replace(step, number=3, title="its rows in another order", features=self.data.shuffled)
        report = self.run(shuffled)
        moved = self._valid("row order", report, self.data.live_ids, is_validation=step.is_validation)
        if moved is not None:
            self._add(about_order(agreement(first, moved)))

    def try_eras(self, validation: ValidationData, progress: Progress | None = None) -> None:
        """The few eras, whether one of them comes out the same alone, and what the predictions are worth.

        `validation` is that of `data.folder`; `progress` is told the done and the total while figures are computed.
        """
        data = self.data
        title = f"{len(data.eras)} validation eras, {len(validation.ids)} rows"
        several = Step(
            number=4,
            title=title,
            features=data.validation,
            benchmarks=data.benchmarks,
            seconds=len(data.eras),
            is_validation=True,
        )
        outcome = self.run(several).outcome()
        if isinstance(outcome, ModelFailure):
            self._add(about_failure("eras", outcome, is_validation=True))
            return
        placed = validation.align(pa.array(outcome.ids, validation.ids.type), outcome.values, is_complete=True)
        if isinstance(placed, ModelFailure):
            self._add(about_failure("eras", placed, is_validation=True))
            return
        names = ", ".join(data.eras)
        self._add(passed("eras", f"Right predictions for all {len(outcome.ids)} ids of the validation eras {names}."))
        if len(data.eras) > 1 and not self._has_failed("repeat"):
            self._try_alone(several, outcome)
        self.figures = validation.diagnose([placed], progress)[0]
        self._add(about_figures(self.figures, len(data.eras)))

    def weigh(self) -> None:
        """What the first run took against the limits, and what one would take on the server."""
        assert self.report is not None, "there was no valid submission"
        rows = len(self.data.live_ids)
        self.forecast = forecast(
            self.report.stages,
            self.report.peak_memory_bytes,
            rows=rows,
            columns=self.data.live_columns,
            speed=calibrate(),
        )
        self._add(about_time(self.report, self.limits))
        self._add(about_memory(self.report, self.limits))
        self._add(about_forecast(self.forecast, self.limits, rows=rows))

    def _try_alone(self, several: Step, outcome: Predictions) -> None:
        data = self.data
        step = replace(several, number=5, title=f"era {data.eras[-1]} alone", features=data.alone, seconds=1)
        alone = self._valid("one era", self.run(step), data.alone_ids, is_validation=True)
        if alone is None:
            return
        wanted = set(data.alone_ids)
        rows = [row for row, one in enumerate(outcome.ids) if one in wanted]
        among = Predictions(ids=[outcome.ids[row] for row in rows], values=np.asarray(outcome.values)[rows])
        self._add(about_alone(agreement(among, alone), data.eras[-1]))

    def _valid(self, topic: str, report: RunReport, ids: list[str], *, is_validation: bool) -> Predictions | None:
        """The predictions of a run, or None after a line that says why they are none."""
        outcome = report.outcome()
        if isinstance(outcome, Predictions):
            wrong = check_submission(outcome, ids)
            if wrong is None:
                return outcome
            outcome = wrong
        self._add(about_failure(topic, outcome, is_validation=is_validation))
        return None

    def _has_failed(self, topic: str) -> bool:
        return any(one.topic == topic and one.level is not Level.PASS for one in self.findings)

    def _add(self, finding: Finding) -> None:
        self.findings.append(finding)
