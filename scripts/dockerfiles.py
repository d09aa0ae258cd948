"""Writes deploy/docker/py*/Dockerfile, one for each core runtime: `python scripts/dockerfiles.py`."""

from pathlib import Path

from predictd.runtimes import SPECS, RuntimeSpec

FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "docker"

TEMPLATE = """\
# One run of a pickled model, as the server runs it, in the runtime {display_name} ({image_name}).
# Written by scripts/dockerfiles.py. From the top of the repository:
#
#     docker build -f deploy/docker/{name}/Dockerfile -t predictd:{name} .
#     docker run -i --rm -v "$PWD:$PWD" predictd:{name} --debug --model "$PWD/model.pkl"
FROM python:{python}-slim-bookworm

# libgomp1 is for LightGBM. python3-venv brings the Python of the command, which is not that of the models. gcc compiles
# the command's own evaluation of trees.
# The versions are left to Debian, whose stable release changes them for security only.
# hadolint ignore=DL3008
RUN apt-get update \\
    && apt-get install -y --no-install-recommends gcc libc6-dev libgomp1 python3-venv \\
    && rm -rf /var/lib/apt/lists/*

COPY deploy/docker/requirements.txt pyproject.toml hatch_build.py README.md LICENSE /opt/source/
COPY native /opt/source/native
COPY src /opt/source/src
RUN /usr/bin/python3 -m venv /opt/predictd \\
    && /opt/predictd/bin/pip install --no-cache-dir --require-hashes --only-binary :all: \\
        -r /opt/source/requirements.txt \\
    && /opt/predictd/bin/pip install --no-cache-dir --no-deps /opt/source

# The server's own builder: the same lock with its hashes, the same trial of the packages, the same tag.
RUN /opt/predictd/bin/python -c "from pathlib import Path; from predictd.runtimes import build, spec_for; \\
        build(spec_for('{python}'), Path('/opt/runtimes'), print)" \\
    && ln -s /opt/runtimes/{image_name}-* /opt/runtime \\
    && rm -rf /root/.cache

RUN useradd --create-home --uid 1000 predictd
USER 1000
WORKDIR /home/predictd

# A container can rarely make a sandbox in itself, so it is the sandbox: its own limits and network are the model's.
# `--entrypoint python` is the Python of the runtime, to make pickles in.
ENV PATH=/opt/runtime/bin:/opt/predictd/bin:$PATH \\
    PREDICTD_RUNTIMES_DIR=/opt/runtimes \\
    PREDICTD_RUNTIME={python} \\
    PREDICTD_SANDBOX=none \\
    PREDICTD_TRUST_USERS=1
ENTRYPOINT ["predictd", "run"]
"""


def name_of(spec: RuntimeSpec) -> str:
    """The folder of a runtime's Dockerfile and the tag of its image, for example 'py3.12'."""
    return f"py{spec.python}"


def dockerfile(spec: RuntimeSpec) -> str:
    """The text of a runtime's Dockerfile."""
    return TEMPLATE.format(
        name=name_of(spec), python=spec.python, display_name=spec.display_name, image_name=spec.image_name
    )


if __name__ == "__main__":
    for spec in SPECS.values():
        path = FOLDER / name_of(spec) / "Dockerfile"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dockerfile(spec))
