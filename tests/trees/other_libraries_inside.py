"""Runs inside a runtime: asks models of one library, as it is and then with compiled trees, and prints what differs.

python other_libraries_inside.py xgboost|catboost|sklearn
"""

import json
import pickle
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

_TIME = re.compile(r"\d\d:\d\d:\d\d")
ROWS, COLUMNS = 700, 12
# Name, what is asked, and whether compiled trees are expected to answer; None where only the first call tries them.
Case = tuple[str, Callable[[], Any], bool | None]

random = np.random.default_rng(7)
whole = random.integers(0, 5, (ROWS, COLUMNS)).astype(np.int8)
names = [f"feature_{number}" for number in range(COLUMNS)]
frame = pd.DataFrame(whole, columns=names)
number = (whole[:, 0] * 0.3 - whole[:, 1] * whole[:, 2] * 0.1 + random.normal(size=ROWS)).astype(np.float32)
several = random.normal(size=(ROWS, 3)) + whole[:, :3]
weights = random.normal(size=3)
two = (whole[:, 0] + whole[:, 1] > 4).astype(int)
five = whole[:, 2].astype(int)
fractions = (frame + 0.25).astype(np.float32)
gaps = frame.astype(np.float32).mask(random.random(frame.shape) < 0.05)


# A model of each library, by which `accelerate` is tried.
models: dict[str, Any] = {}


def unpickled(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))


def usual(name: str, model: Any, compiled: bool = True, method: str = "predict", frame: Any = frame) -> Iterator[Case]:
    """One method of a model that was trained with names, asked with all kinds of data."""

    def ask(data: Any) -> Any:
        return getattr(model, method)(data)

    label = f"{name}.{method}"
    yield f"{label} of int8", lambda: ask(frame), compiled
    yield f"{label} of float32", lambda: ask(frame.astype(np.float32)), compiled
    yield f"{label} of a slice", lambda: ask(frame.iloc[5:71]), compiled
    yield f"{label} of one row", lambda: ask(frame.iloc[5:6]), compiled
    yield f"{label} of fractions", lambda: ask(fractions), False
    yield f"{label} of large numbers", lambda: ask(frame.astype(np.int64) * 1000), False
    yield f"{label} of a bool", lambda: ask(frame == 1), compiled
    yield f"{label} of several types", lambda: ask(frame.astype({names[0]: np.float32, names[1]: np.uint16})), compiled
    yield f"{label} of two alike", lambda: ask(frame.iloc[:, [0, *range(COLUMNS - 1)]]), False
    yield f"{label} of no rows", lambda: ask(frame.iloc[:0]), False
    yield f"{label} of gaps", lambda: ask(gaps), False
    yield f"{label} of too few columns", lambda: ask(frame.iloc[:, 1:]), False
    yield f"{label} of other names", lambda: ask(frame.rename(columns={"feature_3": "other"})), False
    yield f"{label} of columns in another order", lambda: ask(frame.iloc[:, ::-1]), False


def xgboost_cases() -> Iterator[Case]:
    import xgboost

    few = {"n_estimators": 40, "max_depth": 5, "n_jobs": 1, "random_state": 1}
    regressor = unpickled(xgboost.XGBRegressor(**few).fit(frame, number))
    models["xgboost"] = regressor
    yield from usual("regressor", regressor)
    yield "regressor of an array", lambda: regressor.predict(whole), True
    yield "some rounds", lambda: regressor.predict(frame, iteration_range=(3, 9)), True
    yield "rounds beyond the last", lambda: regressor.predict(frame, iteration_range=(3, 90)), False
    yield "a margin to begin with", lambda: regressor.predict(frame, base_margin=number), False
    yield "leaves", lambda: regressor.apply(frame), False
    nameless = unpickled(xgboost.XGBRegressor(**few).fit(whole, number))
    yield "names to a model without", lambda: nameless.predict(frame), True
    logistic = unpickled(xgboost.XGBClassifier(**few).fit(frame, two))
    yield from usual("two classes", logistic, method="predict_proba")
    yield "two classes", lambda: logistic.predict(frame), True
    yield "margins of two classes", lambda: logistic.predict(frame, output_margin=True), True
    softmax = unpickled(xgboost.XGBClassifier(**few, num_parallel_tree=2, subsample=0.5).fit(frame, five))
    yield "classes", lambda: softmax.predict(frame), True
    yield "classes' probabilities", lambda: softmax.predict_proba(frame), True
    groups = np.repeat(np.arange(ROWS // 10), 10)
    ranker = unpickled(xgboost.XGBRanker(**few).fit(frame, five, qid=groups))
    yield "ranker", lambda: ranker.predict(frame), True
    early = xgboost.XGBRegressor(**few, learning_rate=1.0, early_stopping_rounds=3)
    early = unpickled(early.fit(frame, number, eval_set=[(frame.iloc[::-1], number)], verbose=False))
    assert early.best_iteration < 39
    yield "stopped early", lambda: early.predict(frame), True
    for objective in ("count:poisson", "reg:gamma", "reg:tweedie", "reg:absoluteerror", "binary:hinge"):
        model = unpickled(xgboost.XGBRegressor(**few, objective=objective).fit(frame, two + 1 - (objective[0] == "b")))
        yield objective, lambda model=model: model.predict(frame), True
    targets = unpickled(xgboost.XGBRegressor(**few).fit(frame, several))
    yield "several targets", lambda: targets.predict(frame), True
    vectors = unpickled(xgboost.XGBRegressor(**few, multi_strategy="multi_output_tree").fit(frame, several))
    yield "vectors in leaves", lambda: vectors.predict(frame), False
    pruned = unpickled(xgboost.XGBRegressor(**few, gamma=3, tree_method="exact").fit(frame, number))
    assert re.search(rb'"num_deleted":"[1-9]', pruned.get_booster().save_raw("json"))
    yield "pruned", lambda: pruned.predict(frame), True
    dart = unpickled(xgboost.XGBRegressor(**few, booster="dart", rate_drop=0.3).fit(frame, number))
    yield "dart", lambda: dart.predict(frame), False
    linear = unpickled(xgboost.XGBRegressor(n_estimators=5, booster="gblinear").fit(frame, number))
    yield "gblinear", lambda: linear.predict(frame), False
    zero = unpickled(xgboost.XGBRegressor(**few, missing=0).fit(frame, number))
    yield "another number for missing", lambda: zero.predict(frame), False
    some = frame.assign(feature_0=frame.feature_0.astype("category"))
    categories = unpickled(xgboost.XGBRegressor(**few, enable_categorical=True).fit(some, number))
    yield "categories", lambda: categories.predict(some), False
    yield "categories of a model without", lambda: regressor.predict(some), False
    booster = unpickled(regressor.get_booster())
    matrix, holey = xgboost.DMatrix(frame), xgboost.DMatrix(gaps)
    yield "booster", lambda: booster.predict(matrix), True
    yield "booster's margins", lambda: booster.predict(matrix, output_margin=True), True
    yield "booster of gaps", lambda: booster.predict(holey), False
    yield "booster of no names", lambda: booster.predict(xgboost.DMatrix(whole)), False
    yield "booster's contributions", lambda: booster.predict(matrix, pred_contribs=True), False
    yield "booster's shape", lambda: booster.inplace_predict(frame, strict_shape=True), False
    grown = unpickled(regressor.get_booster())

    def more() -> Any:
        model = grown.copy()
        before = model.inplace_predict(frame)
        model.update(xgboost.DMatrix(frame, label=number), model.num_boosted_rounds())
        return [before, model.inplace_predict(frame)]

    yield "trained on", more, True
    yield "pickled", lambda: [pickle.dumps(regressor), pickle.dumps(booster)], False


def catboost_cases() -> Iterator[Case]:
    import catboost

    few = {"iterations": 40, "depth": 5, "thread_count": 1, "verbose": 0, "allow_writing_files": False}
    regressor = unpickled(catboost.CatBoostRegressor(**few).fit(frame, number))
    models["catboost"] = regressor
    yield from usual("regressor", regressor)
    yield "regressor of an array", lambda: regressor.predict(whole), True
    yield "some trees", lambda: regressor.predict(frame, ntree_start=3, ntree_end=9), True
    yield "the first trees", lambda: regressor.predict(frame, ntree_end=9), True
    yield "trees beyond the last", lambda: regressor.predict(frame, ntree_end=90), False
    yield "an unknown kind", lambda: regressor.predict(frame, prediction_type="Unheard"), False
    yield "one row as a list", lambda: regressor.predict(whole[0].tolist()), False
    yield "a pool", lambda: regressor.predict(catboost.Pool(frame)), False
    scaled = unpickled(regressor)
    scaled.set_scale_and_bias(0.3, 0.7)
    yield "scale and bias", lambda: scaled.predict(frame), True
    logistic = unpickled(catboost.CatBoostClassifier(**few).fit(frame, two))
    yield from usual("two classes", logistic, method="predict_proba")
    yield "two classes", lambda: logistic.predict(frame), True
    yield "two classes' logarithms", lambda: logistic.predict_log_proba(frame), False
    words = unpickled(catboost.CatBoostClassifier(**few).fit(frame, np.where(two, "yes", "no")))
    yield "words for classes", lambda: words.predict(frame), True
    softmax = unpickled(catboost.CatBoostClassifier(**few).fit(frame, five))
    yield "classes", lambda: softmax.predict(frame), True
    yield "classes' raw values", lambda: softmax.predict(frame, prediction_type="RawFormulaVal"), True
    raw = {"prediction_type": "RawFormulaVal"}
    yield "classes' raw values, weighted", lambda: softmax.predict(frame, **raw)[:, :3] @ weights, True
    yield "classes' probabilities", lambda: softmax.predict_proba(frame), False
    for policy in ("Lossguide", "Depthwise"):
        model = unpickled(catboost.CatBoostRegressor(**few, grow_policy=policy).fit(frame, number))
        yield policy, lambda model=model: model.predict(frame), True
        model = unpickled(catboost.CatBoostClassifier(**few, grow_policy=policy).fit(frame, five))
        yield f"{policy} classes", lambda model=model: model.predict(frame, prediction_type="RawFormulaVal"), True
    ranker = catboost.CatBoostRanker(**few).fit(frame, five, group_id=np.repeat(np.arange(ROWS // 10), 10))
    ranker = unpickled(ranker)
    yield "ranker", lambda: ranker.predict(frame), True
    targets = unpickled(catboost.CatBoostRegressor(**few, loss_function="MultiRMSE").fit(frame, several))
    yield "several targets", lambda: targets.predict(frame), True
    yield "several targets, weighted", lambda: targets.predict(frame) @ weights, True
    poisson = unpickled(catboost.CatBoostRegressor(**few, loss_function="Poisson").fit(frame, five))
    yield "poisson", lambda: poisson.predict(frame), False
    nameless = unpickled(catboost.CatBoostRegressor(**few).fit(whole, number))
    yield "an array", lambda: nameless.predict(whole), True
    yield "names to a model without", lambda: nameless.predict(frame), False
    deep = unpickled(catboost.CatBoostRegressor(**few | {"depth": 6}).fit(frame, number))
    yield "deeper symmetric trees", lambda: deep.predict(frame), False
    some = frame.assign(feature_0=frame.feature_0.astype(str))
    categories = unpickled(catboost.CatBoostRegressor(**few, cat_features=["feature_0"]).fit(some, number))
    yield "categories", lambda: categories.predict(some), False

    def changed() -> Any:
        model = unpickled(regressor)
        before = model.predict(frame)
        model.set_leaf_values(2 * model.get_leaf_values())
        return [before, model.predict(frame)]

    yield "changed leaves", changed, True
    yield "pickled", lambda: [sorted(vars(unpickled(regressor))), pickle.dumps(regressor)], False


def sklearn_cases() -> Iterator[Case]:
    from sklearn import ensemble, tree
    from sklearn.linear_model import LinearRegression

    few = {"n_estimators": 30, "max_depth": 7, "random_state": 1}
    forest = unpickled(ensemble.RandomForestRegressor(**few).fit(frame, number))
    models["sklearn"] = forest
    yield from usual("forest", forest)
    yield "an array to a model with names", lambda: forest.predict(whole), False
    nameless = unpickled(ensemble.RandomForestRegressor(**few).fit(whole, number))
    yield "an array", lambda: nameless.predict(whole), True
    yield "names to a model without", lambda: nameless.predict(frame), False
    extra = unpickled(ensemble.ExtraTreesRegressor(**few).fit(frame, several))
    yield "several targets", lambda: extra.predict(frame), True
    for kind in (ensemble.RandomForestClassifier, ensemble.ExtraTreesClassifier):
        model = unpickled(kind(**few).fit(frame, np.array(list("abcde"))[five]))
        yield from usual(kind.__name__, model, method="predict_proba")
        yield f"{kind.__name__}'s classes", lambda model=model: model.predict(frame), True
    both = unpickled(ensemble.RandomForestClassifier(**few).fit(frame, np.stack([two, five], axis=1)))
    yield "two kinds of classes", lambda: both.predict(frame), False
    single = unpickled(tree.DecisionTreeRegressor(random_state=1).fit(frame, number))
    yield from usual("tree", single)
    classes = unpickled(tree.ExtraTreeClassifier(random_state=1).fit(frame, five))
    yield "a tree's classes", lambda: classes.predict(frame), True
    yield "a tree's probabilities", lambda: classes.predict_proba(frame), True
    few = {"n_estimators": 30, "random_state": 1}
    boosting = unpickled(ensemble.GradientBoostingRegressor(**few).fit(frame, number))
    yield from usual("boosting", boosting)
    yield "stages", lambda: list(boosting.staged_predict(frame)), False
    for target in (two, five):
        model = unpickled(ensemble.GradientBoostingClassifier(**few).fit(frame, target))
        for method in ("predict", "predict_proba", "decision_function"):
            yield (
                f"boosting's {method} {target.max()}",
                lambda model=model, method=method: getattr(model, method)(frame),
                True,
            )
    begun = ensemble.GradientBoostingRegressor(**few, init=LinearRegression())
    begun = unpickled(begun.fit(frame, number))
    yield "boosting from a line", lambda: begun.predict(frame), False
    histograms = unpickled(ensemble.HistGradientBoostingRegressor(max_iter=30, random_state=1).fit(frame, number))
    yield from usual("histograms", histograms)
    early = ensemble.HistGradientBoostingRegressor(max_iter=30, loss="poisson", early_stopping=True, random_state=1)
    yield "trained here", lambda: early.fit(frame, five).predict(frame), True
    for target in (two, five):
        model = unpickled(ensemble.HistGradientBoostingClassifier(max_iter=30, random_state=1).fit(frame, target))
        for method in ("predict", "predict_proba", "decision_function"):
            yield (
                f"histograms' {method} {target.max()}",
                lambda model=model, method=method: getattr(model, method)(frame),
                True,
            )
    model = unpickled(ensemble.HistGradientBoostingClassifier(max_iter=30, random_state=1).fit(frame, five % 3))
    yield "histograms' values, weighted", lambda: model.decision_function(frame) @ weights, True
    categories = ensemble.HistGradientBoostingRegressor(max_iter=30, categorical_features=[0]).fit(frame, number)
    categories = unpickled(categories)
    yield "categories", lambda: categories.predict(frame), False

    def fewer() -> Any:
        model = unpickled(forest)
        before = model.predict(frame)
        model.estimators_ = model.estimators_[:10]
        return [before, model.predict(frame)]

    yield "fewer trees", fewer, True
    for kind in (forest, single, extra):
        other_version = unpickled(kind)
        del other_version.n_outputs_  # as a version of scikit-learn leaves it that has no such attribute
        yield f"{type(kind).__name__} of another version", lambda model=other_version: model.predict(frame), None
    yield "not fitted", lambda: ensemble.RandomForestRegressor().predict(frame), False
    yield "pickled", lambda: [pickle.dumps(model) for model in (forest, boosting, histograms)], False


def bits(answer: Any) -> Any:
    """Everything that is to be equal of an answer."""
    if isinstance(answer, list):
        return [bits(part) for part in answer]
    if isinstance(answer, np.ndarray):
        values = answer.tolist() if answer.dtype == object else answer.tobytes()
        flags = answer.flags
        layout = answer.strides, flags.c_contiguous, flags.f_contiguous, flags.aligned, flags.writeable
        return str(answer.dtype), answer.shape, layout, values
    return answer


def asked(ask: Callable[[], Any]) -> Any:
    """The answer, or the exception, and the warnings."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            answer = bits(ask())
        except Exception as error:  # noqa: BLE001
            answer = _TIME.sub("", f"{type(error).__name__}: {error}").partition("Stack trace")[0]
    return answer, sorted({_TIME.sub("", str(warning.message)) for warning in seen})


def main(library: str) -> None:
    cases = list(globals()[f"{library}_cases"]())
    for _, ask, _ in cases:
        asked(ask)  # some warn once
    theirs = [asked(ask) for _, ask, _ in cases]

    from predictd import trees
    from predictd.trees import store
    from predictd.trees.evaluator import Evaluator

    count = 0
    plain = Evaluator.sums

    def counted(self: Evaluator, matrix: Any) -> Any:
        nonlocal count
        count += 1
        return plain(self, matrix)

    Evaluator.sums = counted  # type: ignore[method-assign]
    assert trees.install(), trees.available()
    found = []
    for (name, ask, compiled), answer in zip(cases, theirs, strict=True):
        for time in ("first", "second"):
            count = 0
            ours = asked(ask)
            if ours != answer:
                found.append(f"{name} ({time}): not equal: {str(ours)[:200]} instead of {str(answer)[:200]}")
            if (count > 0) != (time == "first" if compiled is None else compiled):
                found.append(f"{name} ({time}): answered by {'compiled trees' if count else 'the library'}")
    kept = trees.export_tables()
    trees.uninstall()
    assert trees.install(kept)
    compile_forest, store.compile_forest = store.compile_forest, None  # type: ignore[assignment]
    for (name, ask, _), answer in zip(cases, theirs, strict=True):
        if asked(ask) != answer:
            found.append(f"{name}: not equal with kept tables")
    found += trees.problems()
    trees.uninstall()
    store.compile_forest = compile_forest
    trees.accelerate(models[library])
    before = trees.export_tables()
    models[library].predict(frame)
    if not before or trees.export_tables() != before:
        found.append("accelerate compiled something else than predict uses")
    trees.uninstall()
    for (name, ask, _), answer in zip(cases, theirs, strict=True):
        if asked(ask) != answer:
            found.append(f"{name}: not equal after uninstall")
    print(json.dumps({"cases": len(cases), "found": found, "tables": len(kept)}))


if __name__ == "__main__":
    main(sys.argv[1])
