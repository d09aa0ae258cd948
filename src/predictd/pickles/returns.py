"""What a function surely returns, where a few plain instructions say so; else nothing is said."""

from predictd.pickles.bytecode import Code, instructions, value_of

_NO_FRAMES = (
    "pandas.Series", "numpy.array", "numpy.asarray", "numpy.zeros", "numpy.ones", "numpy.full", "numpy.random.rand",
    "numpy.random.random", "scipy.stats.rankdata", "list", "dict",
)  # fmt: skip
_NO_FRAME_METHODS = (".tolist", ".to_numpy", ".to_dict", ".to_list", ".to_csv", ".to_json")
_NO_FRAME_ATTRIBUTES = (".values",)
_SKIPPED = {"RESUME", "NOP", "PRECALL", "PUSH_NULL", "KW_NAMES", "MAKE_CELL", "COPY_FREE_VARS", "GEN_START"}
_LOADS = {"LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"}
_CALLS = {"CALL", "CALL_FUNCTION", "CALL_METHOD", "CALL_FUNCTION_KW", "CALL_KW"}
_WITH_NAMES = {"CALL_FUNCTION_KW", "CALL_KW"}
_OF_TWO = (
    "BINARY_SUBSCR", "BINARY_OP", "COMPARE_OP", "BINARY_ADD", "BINARY_SUBTRACT", "BINARY_MULTIPLY",
    "BINARY_TRUE_DIVIDE", "BINARY_FLOOR_DIVIDE", "BINARY_POWER", "BINARY_MODULO",
)  # fmt: skip
# How many values an instruction takes for each of its argument and beside that, and what it leaves.
_BUILDING = {
    "BUILD_LIST": (1, 0, "list()"), "BUILD_TUPLE": (1, 0, ""), "BUILD_SLICE": (1, 0, ""), "BUILD_MAP": (2, 0, "dict()"),
    "BUILD_CONST_KEY_MAP": (1, 1, "dict()"), "BINARY_SLICE": (0, 3, ""), "UNARY_NEGATIVE": (0, 1, ""),
    "UNARY_NOT": (0, 1, ""), **dict.fromkeys(_OF_TWO, (0, 2, "")),
}  # fmt: skip
_STORING = {"STORE_SUBSCR": 3, "STORE_ATTR": 2, "STORE_GLOBAL": 1, "LIST_EXTEND": 1, "POP_TOP": 1}
_CALLS = {"CALL", "CALL_FUNCTION", "CALL_METHOD", "CALL_FUNCTION_KW", "CALL_KW"}
_WITH_NAMES = {"CALL_FUNCTION_KW", "CALL_KW"}


def returned(code: Code, version: str, names: dict[str, str]) -> list[str]:
    """The dotted names whose results a function returns, of those that are surely no DataFrame.

    Follows straight code only: from the first jump, or other instruction that it does not know, it says nothing more.

    Args:
        names: what the globals stand for, such as 'pd' for 'pandas'.
    """
    try:
        last = _follow(code, version, names)
    except IndexError:
        return []
    called = last.endswith("()")
    name = last.removesuffix("()")
    if called and (name in _NO_FRAMES or name.endswith(_NO_FRAME_METHODS)):
        return [name]
    return [name] if not called and name.endswith(_NO_FRAME_ATTRIBUTES) else []


def _follow(code: Code, version: str, names: dict[str, str]) -> str:
    """What is on the stack at the first return, '' where it can't be told."""
    stack: list[str] = []
    local: dict[str, str] = {}
    for _, name, argument in instructions(code, version):
        value = value_of(code, version, name, argument)
        if name == "RETURN_VALUE":
            return stack.pop()
        if name in _LOADS:
            stack.append(local.get(value, names.get(value, value)) if isinstance(value, str) else "")
        elif name == "LOAD_CONST":
            stack.append("a constant")
        elif name in ("LOAD_ATTR", "LOAD_METHOD"):
            stack.append(f"{stack.pop()}.{value}")
        elif name == "STORE_FAST":
            local[str(value)] = stack.pop()
        elif name == "IMPORT_NAME":
            _drop(stack, 2, str(value))
        elif name == "IMPORT_FROM":
            stack.append(f"{stack[-1]}.{value}")
        elif name in _STORING:
            _drop(stack, _STORING[name])
        elif name in _BUILDING:
            each, more, left = _BUILDING[name]
            _drop(stack, each * argument + more, left)
        elif name in _CALLS:
            # The names of keyword arguments lie on top, as one tuple; below the arguments lies what is called.
            _drop(stack, argument + (1 if name in _WITH_NAMES else 0))
            stack.append(f"{stack.pop()}()")
        elif name not in _SKIPPED:
            return ""
    return ""


def _drop(stack: list[str], count: int, instead: str | None = None) -> None:
    if count > len(stack):
        raise IndexError
    del stack[len(stack) - count :]
    if instead is not None:
        stack.append(instead)
