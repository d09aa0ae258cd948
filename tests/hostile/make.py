"""Pickles the hostile models; run by the runtime's Python as `make.py FACTS FOLDER`, FACTS a JSON file about the host.

A model file has `predict`, or `model` (another object to pickle) or `raw()` (the bytes themselves). Its global HOST is
filled with the facts, so that a model knows what it is after: ports, paths and pids that a sandbox must not reach.
"""

import importlib.util
import json
import sys
from pathlib import Path

import cloudpickle

HERE = Path(__file__).parent


def load(path: Path):
    """A model file as a module that nobody can import, so that cloudpickle takes all of it by value."""
    spec = importlib.util.spec_from_file_location(f"hostile_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(facts: str, folder: str) -> None:
    sys.path.insert(0, str(HERE))
    import inside

    cloudpickle.register_pickle_by_value(inside)
    host = json.loads(Path(facts).read_text())
    for path in sorted((HERE / "models").glob("*.py")):
        module = load(path)
        if hasattr(module, "HOST"):
            module.HOST.update(host)
        if hasattr(module, "raw"):
            content = module.raw()
        else:
            content = cloudpickle.dumps(getattr(module, "model", None) or module.predict)
        Path(folder, f"{path.stem}.pkl").write_bytes(content)
    Path(folder, "good.pkl").write_bytes(cloudpickle.dumps(inside.answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
