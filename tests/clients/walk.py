"""Walks numerapi's public methods against a server, unmodified but for its address; prints what each answered as JSON.

Run with a Python that has a numerapi: `python walk.py ADDRESS PUBLIC_ID SECRET_KEY PICKLE FOLDER`. Methods of stakes,
wallets and payouts are left to a test of their own.
"""

import inspect
import json
import os
import sys
import time
from pathlib import Path

import numerapi
import numerapi.base_api
import pandas as pd

address, public_id, secret_key, pickle, folder = sys.argv[1:]
os.chdir(folder)
numerapi.base_api.API_TOURNAMENT_URL = address
napi = numerapi.NumerAPI(public_id, secret_key, verbosity="ERROR", show_progress_bars=False)
answers: dict[str, object] = {}
MONEY = {
    "pending_model_payouts",
    "set_global_data_dir",
    "stake_change",
    "stake_decrease",
    "stake_drain",
    "stake_get",
    "stake_increase",
    "stake_set",
    "v3_stake_auth",
    "v3_stake_claim",
    "v3_stake_config",
    "v3_stake_round",
    "wallet_transactions",
}


def call(name: str, *arguments: object, **named: object) -> object:
    """Call the method and keep what it answered."""
    answers[name] = getattr(napi, name)(*arguments, **named)
    return answers[name]


def add_model(name: str) -> str:
    query = "mutation($name: String!) { addModel(name: $name, tournament: 8) { id } }"
    return napi.raw_query(query, {"name": name}, authorization=True)["data"]["addModel"]["id"]


suffix = f"{time.time_ns() % 10**9}"
by_pickle, by_hand = add_model(f"pickle_{suffix}"), add_model(f"hand_{suffix}")

call("list_datasets")
call("list_datasets", round_num=1)
call("download_dataset", "v5.3/features.json")
Path("v5.3").mkdir(exist_ok=True)
Path("v5.3/live.parquet.temp").write_bytes(b"")
call("download_dataset", "v5.3/live.parquet")
if "filters" in inspect.signature(napi.download_dataset).parameters:
    napi.download_dataset("v5.3/validation.parquet", "part.parquet", filters=[("era", "==", "0575")])
    answers["eras_of_a_filtered_download"] = sorted(pd.read_parquet("part.parquet", columns=["era"])["era"].unique())
call("get_account")
call("get_models")
call("models_of_account", public_id and answers["get_account"]["username"])
call("modelid_to_modelname", by_hand)
call("get_current_round")
call("list_rounds") if hasattr(napi, "list_rounds") else None
call("check_round_open")
call("check_new_round")
call("get_competitions")
call("set_bio", by_hand, "a model by hand")
call("set_link", by_hand, "a page", "https://example.com")
call("set_submission_webhook", by_hand, "https://example.com/hook")
call("set_submission_webhook", by_hand, None)
call("model_upload_data_versions")
call("model_upload_docker_images")
call(
    "model_upload",
    pickle,
    model_id=by_pickle,
    data_version="v5.3",
    docker_image=next(iter(answers["model_upload_docker_images"])),
)
live = pd.read_parquet("v5.3/live.parquet")
frame = pd.DataFrame({"id": live.index, "prediction": (live.index.argsort().argsort() + 0.5) / len(live)})
call("upload_predictions", model_id=by_hand, df=frame)
frame.to_csv("predictions.csv", index=False)
call("upload_predictions", "predictions.csv", model_id=by_hand)
call("submission_ids", by_hand)
call("get_submission_filenames", model_id=by_hand)
call("download_submission", model_id=by_hand, dest_path="downloaded.csv")
answers["round_trip"] = bool(pd.read_csv("downloaded.csv").equals(frame))
call("upload_diagnostics", model_id=by_hand, df=frame)
call("diagnostics", by_hand)
call("diagnostics", by_hand, answers["upload_diagnostics"])
call("submission_scores", by_hand)
call("round_model_performances_v2", by_hand)
call("intra_round_scores", by_hand)
name = answers["modelid_to_modelname"]
call("daily_model_performances", name)
call("public_user_profile", name)
call("get_leaderboard")
call("get_account_leaderboard")
call("pipeline_status")
call("pipeline_status", "2026-01-06")

public = {one for one, _ in inspect.getmembers(numerapi.NumerAPI, inspect.isfunction) if not one.startswith("_")}
answers["not_walked"] = sorted(public - set(answers) - MONEY - {"raw_query", "round_model_performances"})
print(json.dumps(answers, default=str))
