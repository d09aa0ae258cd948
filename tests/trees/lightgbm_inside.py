"""Runs inside a runtime: asks LightGBM's models as they are and with compiled trees, and prints which cases failed.

Each function `case_*` raises AssertionError with what differs. The last line printed is JSON: {case: "" or the
failure}.
"""

import copy
import json
import pickle
import sys
import traceback

import lightgbm
import numpy as np
import pandas as pd

from predictd import trees
from predictd.trees import UnsupportedModelError

ROWS, COLUMNS = 700, 12
OWNS_DATA = 0x4
random = np.random.default_rng(11)
whole = random.integers(0, 5, (ROWS, COLUMNS)).astype(np.int8)
names = [f"feature_{number}" for number in range(COLUMNS)]
frame = pd.DataFrame(whole, columns=names)
target = whole[:, 0] * 0.3 - whole[:, 1] * whole[:, 2] * 0.1 + random.normal(size=ROWS)
two = (whole[:, 0] + whole[:, 1] + random.normal(size=ROWS) > 4).astype(int)
five = whole[:, 2].astype(int)
usual = {"n_estimators": 40, "n_jobs": 1, "verbose": -1, "min_child_samples": 2, "random_state": 1}


def same(found, expected):
    assert type(found) is type(expected)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.strides == expected.strides
    assert found.flags.num & ~OWNS_DATA == expected.flags.num & ~OWNS_DATA
    assert found.tobytes() == expected.tobytes(), f"{np.abs(found - expected).max()} apart"


def outcome(ask, *arguments, **options):
    """What a call answers, or the exception it raises."""
    try:
        return ask(*arguments, **options)
    except Exception as error:  # noqa: BLE001
        return type(error), str(error)


def compiled(content, method, *arguments, **options):
    """An unpickled model asked with compiled trees; its answer, and whether they gave it."""
    trees.uninstall()
    assert trees.install()
    try:
        found = outcome(getattr(pickle.loads(content), method), *arguments, **options)
        refused = [problem for problem in trees.problems() if "the library raises" not in problem]
        assert not refused, refused
        return found, bool(trees.export_tables())
    finally:
        trees.uninstall()


def check(model, method="predict", data=frame, expect=True, **options):
    """The same answer with compiled trees as without; `expect` is whether they should give it."""
    content = pickle.dumps(model)
    expected = outcome(getattr(pickle.loads(content), method), data, **options)
    found, used = compiled(content, method, data, **options)
    if isinstance(expected, tuple):
        assert found == expected, found
    else:
        same(found, expected)
    assert used == expect, "compiled trees were" + ("" if used else " not") + " used"


def case_regressors_of_every_objective():
    for objective in (
        "regression",
        "l1",
        "huber",
        "fair",
        "quantile",
        "mape",
        "poisson",
        "gamma",
        "tweedie",
        "cross_entropy",
    ):
        model = lightgbm.LGBMRegressor(**usual, objective=objective)
        model.fit(frame, two if objective == "cross_entropy" else np.abs(target) + 0.1)
        check(model)
        check(model, raw_score=True)
    model = lightgbm.LGBMRegressor(**usual, reg_sqrt=True).fit(frame, target)
    check(model)
    check(lightgbm.LGBMRegressor(**usual, objective="cross_entropy_lambda").fit(frame, two))


def case_classifiers():
    for objective, labels in (("binary", two), ("multiclass", five), ("multiclassova", five)):
        model = lightgbm.LGBMClassifier(**usual, objective=objective).fit(frame, labels)
        check(model)
        check(model, "predict_proba")
        check(model, "predict_proba", raw_score=True)
        check(model.booster_)
    check(
        lightgbm.LGBMClassifier(**usual, objective="binary", sigmoid=0.7).fit(frame, two), "predict_proba", expect=False
    )
    check(lightgbm.LGBMClassifier(**usual, objective="binary", sigmoid=2).fit(frame, two), "predict_proba")


def case_rankers():
    groups = [100] * (ROWS // 100)
    for objective in ("lambdarank", "rank_xendcg"):
        check(lightgbm.LGBMRanker(**usual, objective=objective).fit(frame, five, group=groups))


def case_own_objective():
    def squared(truth, found):
        return found - truth, np.ones_like(truth)

    model = lightgbm.LGBMRegressor(**usual, objective=squared).fit(frame, target)
    check(model.booster_)


def case_every_size_of_tree():
    for leaves, depth in ((2, -1), (31, 5), (31, -1), (32, -1), (33, -1), (300, 9), (300, -1), (64, 30)):
        check(lightgbm.LGBMRegressor(**usual, num_leaves=leaves, max_depth=depth).fit(frame, target))
    wide = random.integers(-100, 100, (5000, COLUMNS)).astype(np.int8)
    noise = random.normal(size=5000)
    check(lightgbm.LGBMRegressor(**usual, num_leaves=2000).fit(wide, noise), data=wide)
    check(lightgbm.LGBMRegressor(**usual).fit(frame, np.ones(ROWS)))
    check(lightgbm.LGBMRegressor(**{**usual, "min_child_samples": ROWS}).fit(frame, target))


def case_other_ways_of_boosting():
    check(lightgbm.LGBMRegressor(**usual, boosting_type="dart").fit(frame, target))
    forest = lightgbm.LGBMRegressor(**usual, boosting_type="rf", subsample=0.5, subsample_freq=1).fit(frame, target)
    check(forest)
    check(forest, raw_score=True)
    check(forest.booster_, num_iteration=7)
    check(lightgbm.LGBMRegressor(**usual, linear_tree=True).fit(frame, target), expect=False)
    check(lightgbm.LGBMRegressor(**usual, zero_as_missing=True).fit(frame, target), expect=False)


def case_all_kinds_of_data():
    model = lightgbm.LGBMRegressor(**usual).fit(frame, target)
    gaps = frame.astype(np.float32).mask(random.random(frame.shape) < 0.05)
    for of in (model, model.booster_):
        for data in (
            frame,
            frame.astype(np.float32),
            frame.astype(np.float64),
            frame.astype({"feature_3": np.float32, "feature_5": np.int64}),
            frame[names[::-1]],
            frame.iloc[5:6],
            frame.iloc[::3],
            whole,
            whole.astype(np.int64),
            np.asfortranarray(whole),
            whole.astype(np.float32)[::2],
        ):
            check(of, data=data)
        for data in (
            frame + 0.25,
            frame.astype(np.int64) * 1000,
            gaps,
            frame.iloc[:, 1:],
            frame.iloc[:0],
            frame.assign(more=1),
            frame.astype({"feature_3": "category"}),
            frame.astype("Int8"),
            whole[0],
            "no data",
        ):
            check(of, data=data, expect=False)
    check(model, data=whole.tolist())
    check(model.booster_, data=whole.tolist(), expect=False)


def case_options():
    booster = lightgbm.LGBMRegressor(**usual).fit(frame, target).booster_
    for options in (
        {"num_iteration": 7},
        {"start_iteration": 5},
        {"start_iteration": 5, "num_iteration": 10},
        {"start_iteration": -3, "num_iteration": 1000},
        {"num_iteration": -1},
        {"num_iteration": 0},
        {"raw_score": True},
        {"num_threads": 1},
        {"verbosity": -1},
    ):
        check(booster, **options)
    for options in (
        {"pred_leaf": True},
        {"pred_contrib": True},
        {"pred_early_stop": True},
        {"predict_disable_shape_check": True},
        {"validate_features": True},
        {"start_iteration": 1000},
        {"start_iteration": "x"},
        {"num_iteration": 2.5},
        {"raw_score": 1},
        {"num_class": 3},
        {"boosting": "unknown"},
        {"num_leaves": 1},
    ):
        check(booster, expect=False, **options)


def case_best_iteration():
    booster = lightgbm.LGBMRegressor(**usual).fit(frame, target).booster_
    booster.best_iteration = 7
    content = pickle.dumps(booster)
    found, used = compiled(content, "predict", frame)
    same(found, pickle.loads(content).predict(frame, num_iteration=7))
    assert used
    check(booster)
    check(booster, num_iteration=-1)
    check(booster, start_iteration=1)


def case_categories():
    colours = frame.assign(colour=pd.Categorical(random.choice(["red", "green"], ROWS)))
    check(lightgbm.LGBMRegressor(**usual).fit(colours, target + (colours.colour == "red")), data=colours, expect=False)
    model = lightgbm.LGBMRegressor(**usual).fit(frame, target + (five == 3) * 9, categorical_feature=["feature_2"])
    check(model, expect=False)


def case_an_unpickled_booster_has_no_handle_until_it_is_needed():
    model = lightgbm.LGBMRegressor(**usual).fit(frame, target)
    content, expected = pickle.dumps(model), model.predict(frame)
    assert trees.install()
    first = pickle.loads(content)
    same(first.predict(frame), expected)
    assert "_handle" in vars(first.booster_)  # LightGBM's own answer is compared once
    kept = trees.export_tables()
    trees.uninstall()
    assert trees.install(kept)
    booster = pickle.loads(content).booster_
    same(booster.predict(frame), expected)
    assert booster.feature_name() == names
    again = pickle.loads(pickle.dumps(booster))
    same(again.predict(frame), expected)
    for lazy in (booster, again):
        assert "_handle" not in vars(lazy)
    same(copy.deepcopy(again).predict(frame), expected)
    assert booster.num_trees() == 40
    assert "_handle" in vars(booster)
    assert booster.feature_name() == names
    same(pickle.loads(pickle.dumps(booster)).predict(frame), expected)
    assert pickle.loads(pickle.dumps(booster)).params == model.booster_.params
    assert not hasattr(booster, "nothing")
    left = pickle.loads(content)
    trees.uninstall()
    same(left.predict(frame), expected)
    assert "_handle" in vars(left.booster_)


def case_a_changed_booster_answers_as_it_is():
    content = pickle.dumps(lightgbm.LGBMRegressor(**usual).fit(frame, target).booster_)
    plain = pickle.loads(content)
    assert trees.install()
    booster = pickle.loads(content)
    booster.predict(frame)
    for change in (
        lambda of: of.set_leaf_output(0, 0, 5.0),
        lambda of: of.shuffle_models(),
        lambda of: of.model_from_string(lightgbm.LGBMRegressor(**usual).fit(frame, -target).booster_.model_to_string()),
    ):
        change(booster)
        change(plain)
        found = booster.predict(frame)
        trees.uninstall()
        same(found, plain.predict(frame))
        assert trees.install()
    more = lightgbm.train({"verbose": -1}, lightgbm.Dataset(frame, target), 3, init_model=pickle.loads(content))
    assert more.num_trees() == 43
    refitted = pickle.loads(content).refit(whole, target)
    found = refitted.predict(frame)
    trees.uninstall()
    same(found, refitted.predict(frame))


def case_kept_tables_answer_in_another_process():
    content = pickle.dumps(lightgbm.LGBMRegressor(**usual, num_leaves=100).fit(frame, target))
    expected = pickle.loads(content).predict(frame)
    assert trees.install()
    pickle.loads(content).predict(frame)
    kept = trees.export_tables()
    trees.uninstall()
    assert trees.install(kept)
    same(pickle.loads(content).predict(frame), expected)
    assert trees.export_tables() == kept
    trees.uninstall()
    for at in range(0, len(kept), 997):
        damaged = bytearray(kept)
        damaged[at] ^= 4
        try:
            trees.install(bytes(damaged))
        except trees.TablesError:
            continue
        same(pickle.loads(content).predict(frame), expected)
        trees.uninstall()


def case_one_model_is_accelerated():
    model = lightgbm.LGBMRegressor(**usual).fit(frame, target)
    expected = model.predict(frame)
    assert trees.accelerate(model) is model
    built = trees.export_tables()
    assert built
    same(model.predict(frame), expected)
    assert trees.export_tables() == built
    for wrong in (lightgbm.LGBMRegressor(**usual, linear_tree=True).fit(frame, target), frame):
        kind, said = outcome(trees.accelerate, wrong)
        assert kind is UnsupportedModelError
        assert "linear" in said or "DataFrame" in said, said


def case_a_large_model_is_compared_by_its_first_iterations():
    many = {**usual, "n_estimators": 130, "num_leaves": 4}
    for model, options in (
        (lightgbm.LGBMRegressor(**many).fit(frame, target), {}),
        (lightgbm.LGBMRegressor(**many).fit(frame, target), {"num_iteration": 120}),
        (lightgbm.LGBMRegressor(**many).fit(frame, target), {"start_iteration": 110}),
        (lightgbm.LGBMClassifier(**many).fit(frame, five), {"raw_score": True}),
        (lightgbm.LGBMRegressor(**many, boosting_type="dart").fit(frame, target), {}),
    ):
        check(model, **options)
        wrong = frame.iloc[:, 1:]
        found, used = compiled(pickle.dumps(model), "predict", wrong, **options)
        assert isinstance(found, tuple), "a wrong number of features is the library's to refuse"
        assert not used
    booster = pickle.loads(pickle.dumps(lightgbm.LGBMRegressor(**many).fit(frame, target).booster_))
    trees.install()
    booster = pickle.loads(pickle.dumps(booster))
    booster.predict(frame)
    assert "_handle" not in vars(booster), "the library has not loaded all of it"
    assert len(trees.export_tables()) < 1.1 * len(built_of_all(booster)), "the tables of the copy are not kept"


def built_of_all(booster):
    """The tables of all its iterations and nothing else."""
    trees.uninstall()
    trees.install()
    trees.accelerate(booster)
    return trees.export_tables()


def case_a_damaged_text_fails_as_without_us():
    booster = lightgbm.LGBMRegressor(**usual).fit(frame, target).booster_
    text = booster.model_to_string()
    assert trees.install()
    for wrong in (
        text[: len(text) // 2],
        text.replace("left_child=", "left_child=9"),
        text.replace("Tree=", "Bush="),
        "",
    ):
        state = booster.__getstate__()
        broken = lightgbm.Booster.__new__(lightgbm.Booster)
        trees.uninstall()
        trees.install()
        broken.__setstate__({**state, "_handle": wrong})
        assert isinstance(outcome(trees.accelerate, broken), tuple)
        assert not trees.export_tables()
        vars(broken)["_handle"] = None
    trees.uninstall()


if __name__ == "__main__":
    said = {}
    for name, case in list(globals().items()):
        if name.startswith("case_") and (len(sys.argv) < 2 or name in sys.argv[1:]):
            try:
                case()
                said[name] = ""
            except Exception:  # noqa: BLE001
                said[name] = traceback.format_exc()
            trees.uninstall()
    print(json.dumps(said))
