"""Writes the pages of the documentation that come from tables in the code: `python scripts/pages.py`."""

from pathlib import Path

from predictd.domain.failures import FAILURES
from predictd.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


def settings_page() -> str:
    lines = [
        "# Settings",
        "",
        "Each is an environment variable. Options of `predictd serve` win over them; every command reads them.",
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
        "# How a model can fail",
        "",
        "Each end has a stable code. The status of the run shows the sentence and the remedy, with the facts of that",
        "run in place of the words in braces; the log ends with the same. A failure of the platform is none of these:",
        "it is shown as Error and retried. Where the evidence shows the cause, the remedy is that of the cause.",
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
    return "\n".join(lines) + "\n"


PAGES = {
    "docs/reference/settings.md": settings_page,
    "docs/reference/failures.md": failures_page,
    # A skill is installed without the rest of the documentation.
    "skills/model-upload/failures.md": failures_page,
}

if __name__ == "__main__":
    for filename, page in PAGES.items():
        (ROOT / filename).write_text(page())
