"""Check that code, pages and documentation use the words of the field: `python scripts/word_check.py [PATH ...]`.

It reads docstrings and text literals of modules, templates and documentation; docs/glossary.md has the terms to use. It
prints file:line, the word and what to use instead. The exit code is 1 if there are findings.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATHS = ("README.md", "SECURITY.md", "Makefile", "docs", "skills", "examples", "deploy", "scripts", "src")

# A pattern, and the words to use instead.
WORDS = (
    (r"[Oo]rganis(?:e|es|ed|er|ers|ing)", "admin; organize"),
    (r"anew", "again; rebuild, recreate"),
    (r"of late|by and by", "recently; later"),
    (r"begun", "started"),
    (r"[Mm]end(?:s|ed|ing)?", "fix"),
    (r"(?:take|takes|taken|took|taking) (?:it |them )?off", "unassign, remove"),
    (r"(?:put|puts|putting) (?:it |them )?back", "requeue, restore"),
    (r"(?:take|takes|taken|took) up(?! to)", "resume, retry"),
    (r"[Ss]trangers?", "untrusted (code, model); another account"),
    (r"[Aa]nother's", "another account's"),
    (r"[Ww]hoever", "the noun: the caller, users, anyone who"),
    (r"(?<!there )(?<!There )(?:is|are|was|were) none(?! and| or| else| %| \})", "is not ..., does not exist"),
    (r"(?<!there )(?<!There )is no (?:server|file|number|name|address|URL|pickle|model|folder|token)", "is not a ..."),
    (r"can(?:'t|not) be (?:had|taken|told)", "is unavailable, is invalid, is unknown"),
    (r"[Nn]othing speaks|speaks against", "No problems found"),
    (r"(?:is|are) believed", "is trusted"),
    (r"tells|told|says|said", "reports, shows, describes, logs"),
    (r"[Aa]nswers (?:a|an|it|its|them|with|by|what|whether|how|for|None|nothing|only|every)", "returns, responds with"),
    (r"answered by", "served by, evaluated by"),
    (r"kept", "stored, saved, cached, retained; remains"),
    (r"[Kk]eep it", "Save"),
    (r"all the same", "anyway, nevertheless"),
    (r"[Ll]ook again", "Refresh"),
    (r"[Ww]arm parents?", "fork server"),
    (
        r"[Ll]icence|[Cc]olou(?:r|rs|red)|[Bb]ehaviour|[Nn]eutralis\w+|[Cc]entred?|[Aa]uthoris\w+|[Nn]ormalis\w+",
        "American spelling",
    ),
)
PATTERN = re.compile("|".join(rf"(?P<w{i}>\b(?:{pattern})\b)" for i, (pattern, _) in enumerate(WORDS)))

# What is allowed where: a part of the path, a pattern of the line, and the reason.
ALLOWED = (
    ("scripts/word_check.py", r".*", "lists the words themselves"),
    ("", r"PREDICTD_WARM_PARENTS|warm_parents|most_warm_parents", "the name of a setting"),
    ("", r"PREDICTD_KEEP_\w+|keep_(?:logs|pickles)|--keep\b", "names of settings and options"),
    ("", r"no_organiser|account\.organiser|is_organiser|set_organiser", "names stored in the database"),
    ("db/migrations", r".*", "applied migrations do not change"),
    ("schema.graphql", r".*", "Numerai's schema, word for word"),
)


def main() -> int:
    """Print the findings and return the exit code."""
    findings = [finding for path in files(sys.argv[1:] or PATHS) for finding in check(path)]
    for finding in findings:
        print(finding)
    print(f"{len(findings)} words to replace." if findings else "All words are standard.", file=sys.stderr)
    return 1 if findings else 0


def files(names: "list[str] | tuple[str, ...]") -> Iterator[Path]:
    """Yield the files below the names."""
    suffixes = {".py", ".md", ".html", ".txt", ".yaml", ".yml", ".env", ".ipynb", ".graphql"}
    for path in (ROOT / name for name in names):
        candidates = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in candidates if file.suffix in suffixes or file.name in {"Makefile", "Dockerfile"})


def check(path: Path) -> Iterator[str]:
    """Yield the findings of a file."""
    name = str(path.relative_to(ROOT))
    lines = texts(path) if path.suffix == ".py" else enumerate(path.read_text().splitlines(), 1)
    for number, line in lines:
        for match in PATTERN.finditer(line):
            around = line[max(match.start() - 30, 0) : match.end() + 30]
            if not any(part in name and re.search(allowed, around) for part, allowed, _ in ALLOWED):
                index = next(int(group[1:]) for group, text in match.groupdict().items() if text is not None)
                yield f"{name}:{number}: {match[0]!r}: use {WORDS[index][1]}"


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a module's docstrings and of its literals that are text rather than identifiers."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for offset, line in enumerate(node.value.split("\n")):
                yield node.lineno + offset, line


if __name__ == "__main__":
    sys.exit(main())
