"""The scopes of API tokens."""

SCOPES: dict[str, str] = {
    "upload_submission": "Upload pickles, submissions and diagnostics, and manage models",
    "download_submission": "Download pickles and submissions",
    "read_submission_info": "Read about pickles, runs, submissions and diagnostics",
    "read_user_info": "Read about the account and its models",
    "stake": "Accepted for the sake of existing clients; this server has no stakes",
}
