"""Test a model as the server runs it: repeat a run, shuffle its rows, and run several eras and one of them.

The model runs five times, each time in a new process: twice on live data, once more with shuffled rows, on a
few eras one after the other, and on the last era alone. Runs that must agree are compared prediction by
prediction. Predictions may depend on all rows of an era, as rankings do, so each run has complete eras.
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
from predictd.local_run.compare_runs import compare_predictions
from predictd.local_run.cost_estimate import CostEstimate, calibrate, estimate_cost
from predictd.local_run.test_data import ModelTestData
from predictd.local_run.test_findings import (
    cost_finding,
    failure_finding,
    memory_finding,
    metrics_finding,
    repeat_finding,
    row_order_finding,
    single_era_finding,
    stand_in_finding,
    time_finding,
)
from predictd.scoring import check_submission
from predictd.scoring.metrics import Diagnostics
from predictd.scoring.validation import ValidationData

RUNS = 5

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run of the test.

    Attributes:
        number: of `RUNS`, from 1.
        title: description for the user, such as 'live data, 6500 rows'.
        features: features of one or several eras.
        benchmarks: benchmark models with at least the same ids.
        seconds: multiple of the time limit.
        is_validation: whether these are features of the validation data, with targets that the model must not see.
    """

    number: int
    title: str
    features: Path
    benchmarks: Path | None
    seconds: int = 1
    is_validation: bool = False


Run = Callable[[Step], RunReport]


@dataclass(kw_only=True)
class ModelTest:
    """The state of a test; later checks depend on the results of earlier ones.

    Attributes:
        data: data of the test.
        limits: limits of a run on live data.
        run: runs the model.
        findings: findings so far, in order.
        report: report of the first run on live data, if its predictions are valid.
        figures: metrics of the validation eras, if available.
        cost_estimate: cost estimate for the server, if available.
    """

    data: ModelTestData
    limits: Limits
    run: Run
    findings: list[Finding] = field(default_factory=list)
    report: RunReport | None = None
    figures: Diagnostics | None = None
    cost_estimate: CostEstimate | None = None

    @property
    def is_failed(self) -> bool:
        """Return whether a check failed."""
        return any(finding.level is Level.FAIL for finding in self.findings)

    def check_live(self) -> bool:
        """Check the predictions for live data, repeat the run, and shuffle its rows.

        Returns whether the predictions are valid; otherwise no other check is possible.
        """
        data = self.data
        rows = len(data.live_ids)
        data_name = f"era {data.eras[-1]} instead of live data" if data.is_stand_in else "live data"
        step = Step(
            number=1,
            title=f"{data_name}, {rows} rows",
            features=data.live,
            benchmarks=data.live_benchmarks,
            is_validation=data.is_stand_in,
        )
        report = self.run(step)
        first = self._valid_predictions("submission", report, data.live_ids, is_validation=data.is_stand_in)
        if first is None:
            return False
        values = np.asarray(first.values)
        value_range = f"{values.min():.3g} to {values.max():.3g}"
        self._add(passed("submission", f"Valid: {rows} predictions for {rows} ids of {data_name}, {value_range}."))
        if data.is_stand_in:
            self._add(stand_in_finding(data.eras[-1]))
        self._check_repeats(step, first)
        self.report = report
        return True

    def _check_repeats(self, step: Step, first: Predictions) -> None:
        report = self.run(replace(step, number=2, title="the same data again"))
        second = self._valid_predictions("repeat", report, self.data.live_ids, is_validation=step.is_validation)
        if second is None:
            return
        repeated = repeat_finding(compare_predictions(first, second))
        self._add(repeated)
        if repeated.level is not Level.PASS:
            # Predictions that differ between equal runs also differ for shuffled rows.
            return
        shuffled = replace(step, number=3, title="shuffled rows", features=self.data.shuffled)
        report = self.run(shuffled)
        shuffled_result = self._valid_predictions(
            "row order", report, self.data.live_ids, is_validation=step.is_validation
        )
        if shuffled_result is not None:
            self._add(row_order_finding(compare_predictions(first, shuffled_result)))

    def check_eras(self, validation: ValidationData, progress: Progress | None = None) -> None:
        """Check predictions for several validation eras and for one era alone, and compute metrics.

        `validation` is the data in `data.folder`; `progress` is called with completed and total steps.
        """
        data = self.data
        title = f"{len(data.eras)} validation eras, {len(validation.ids)} rows"
        eras_run = Step(
            number=4,
            title=title,
            features=data.validation,
            benchmarks=data.benchmarks,
            seconds=len(data.eras),
            is_validation=True,
        )
        outcome = self.run(eras_run).outcome()
        if isinstance(outcome, ModelFailure):
            self._add(failure_finding("eras", outcome, is_validation=True))
            return
        placed = validation.align(pa.array(outcome.ids, validation.ids.type), outcome.values, is_complete=True)
        if isinstance(placed, ModelFailure):
            self._add(failure_finding("eras", placed, is_validation=True))
            return
        names = ", ".join(data.eras)
        self._add(passed("eras", f"Right predictions for all {len(outcome.ids)} ids of the validation eras {names}."))
        if len(data.eras) > 1 and not self._has_problem("repeat"):
            self._check_single_era(eras_run, outcome)
        self.figures = validation.diagnose([placed], progress)[0]
        self._add(metrics_finding(self.figures, len(data.eras)))

    def check_cost(self) -> None:
        """Compare time and memory of the first run with the limits, and estimate its cost on the server."""
        assert self.report is not None, "there are no valid predictions"
        rows = len(self.data.live_ids)
        self.cost_estimate = estimate_cost(
            self.report.stages,
            self.report.peak_memory_bytes,
            rows=rows,
            columns=self.data.live_columns,
            speed=calibrate(),
        )
        self._add(time_finding(self.report, self.limits))
        self._add(memory_finding(self.report, self.limits))
        self._add(cost_finding(self.cost_estimate, self.limits, rows=rows))

    def _check_single_era(self, eras_run: Step, outcome: Predictions) -> None:
        data = self.data
        step = replace(eras_run, number=5, title=f"era {data.eras[-1]} alone", features=data.alone, seconds=1)
        alone = self._valid_predictions("one era", self.run(step), data.alone_ids, is_validation=True)
        if alone is None:
            return
        era_ids = set(data.alone_ids)
        rows = [row for row, row_id in enumerate(outcome.ids) if row_id in era_ids]
        from_several = Predictions(ids=[outcome.ids[row] for row in rows], values=np.asarray(outcome.values)[rows])
        self._add(single_era_finding(compare_predictions(from_several, alone), data.eras[-1]))

    def _valid_predictions(
        self, topic: str, report: RunReport, ids: list[str], *, is_validation: bool
    ) -> Predictions | None:
        """Return the valid predictions of a run, or add a finding and return None."""
        outcome = report.outcome()
        if isinstance(outcome, Predictions):
            failure = check_submission(outcome, ids)
            if failure is None:
                return outcome
            outcome = failure
        self._add(failure_finding(topic, outcome, is_validation=is_validation))
        return None

    def _has_problem(self, topic: str) -> bool:
        return any(finding.topic == topic and finding.level is not Level.PASS for finding in self.findings)

    def _add(self, finding: Finding) -> None:
        self.findings.append(finding)
