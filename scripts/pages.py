"""Write the pages of the documentation that are generated from tables in the code: `python scripts/pages.py`."""

from pathlib import Path

from predictd.domain.failures import FAILURES
from predictd.domain.reasons import MESSAGES
from predictd.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


def settings_page() -> str:
    lines = [
        "# Settings",
        "",
        "For admins: all settings of a deployment. Each is an environment variable that every command reads;",
        "options of `predictd serve` override them.",
        "",
        "| variable | default | meaning |",
        "| --- | --- | --- |",
    ]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        lines.append(f"| `PREDICTD_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


def failures_page() -> str:
    lines = [
        "# Failures",
        "",
        "For users: why a run of a model can fail, and what to do. Each failure has a stable code. The status of the",
        "run shows the sentence and the remedy, with the facts of that run instead of the words in braces; the log",
        "ends with the same text. If the cause is known, the remedy is that of the cause. A failure of the platform",
        "is not in this table: it is shown as Error and retried.",
        "",
        "| code | what happened | what to do |",
        "| --- | --- | --- |",
    ]
    for code, failure in FAILURES.items():
        lines.append(f"| `{code}` | {failure.sentence} | {failure.remedy} |")
    lines += ["", "## Causes", "", "| code | cause | what to do |", "| --- | --- | --- |"]
    for code, failure in FAILURES.items():
        for cause, remedy in failure.causes.items():
            lines.append(f"| `{code}` | `{cause}` | {remedy.replace('{{', '{').replace('}}', '}')} |")
    lines += ["", "## Other reasons", "", "The codes of statuses that are not failures of a model.", ""]
    lines += ["| code | text |", "| --- | --- |"]
    for code, message in MESSAGES.items():
        lines.append(f"| `{code}` | {message(EXAMPLE) if callable(message) else message} |")
    return "\n".join(lines) + "\n"


# Facts for the messages that are more than a template.
EXAMPLE = {
    "attempt": 2,
    "corr_mean": 0.01234,
    "detail": "{detail}",
    "eras": 12,
    "limit_memory_bytes": 4 << 30,
    "limit_seconds": 600,
    "memory_bytes": 1 << 30,
    "models": ["my_model"],
    "round": 7,
    "seconds": 1.5,
    "stages": {"import": 0.5, "predict": 1.0},
}

PAGES = {
    "docs/reference/settings.md": settings_page,
    "docs/reference/failures.md": failures_page,
    # A skill is installed without the rest of the documentation.
    "skills/model-upload/failures.md": failures_page,
}

if __name__ == "__main__":
    for filename, page in PAGES.items():
        (ROOT / filename).write_text(page())
