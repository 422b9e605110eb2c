"""Whether a function may be called just to see its SQL, told from its compiled code.

`harmless` proves that by the syntax tree, and says what is in the way. Making the tree takes longer
than everything else that is done for a small revision, and the function has been compiled anyway.
In nearly all revisions the names in the compiled code tell enough: each must be harmless wherever
it could be looked up, as a global or as an attribute of a module. One name that leads to an answer,
or a global that does more than build SQL, tells as much. Otherwise, and where something may be
changed or there are instructions that are not known here, nothing is known, and the syntax tree has
to be asked.
"""

from __future__ import annotations

import builtins
import dis
import types
from typing import TYPE_CHECKING, Any

from automigrate.alembic_bridge.changes import CHANGING
from automigrate.alembic_bridge.harmless import BUILTINS, NOT_TO_BE_CALLED, builds_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Set as AbstractSet

__all__ = ["only_builds_sql"]

# Of Python 3.11 to 3.14. None of them imports, stores anywhere but in a local variable, makes a
# function, or catches an exception; those of a `with` look like it, see `_catches`. In a function
# that is no generator CALL_INTRINSIC_1 makes a tuple of a list, or is a plus sign.
_NAMES = """\
CACHE EXTENDED_ARG NOP NOT_TAKEN PUSH_NULL POP_TOP RESUME COPY SWAP TO_BOOL
BUILD_CONST_KEY_MAP BUILD_LIST BUILD_MAP BUILD_STRING BUILD_TUPLE DICT_MERGE DICT_UPDATE LIST_APPEND
LIST_EXTEND LIST_TO_TUPLE MAP_ADD SET_ADD UNPACK_SEQUENCE
CALL CALL_FUNCTION_EX CALL_INTRINSIC_1 CALL_KW KW_NAMES PRECALL
CONVERT_VALUE FORMAT_SIMPLE FORMAT_VALUE FORMAT_WITH_SPEC BINARY_OP BINARY_SUBSCR COMPARE_OP
CONTAINS_OP IS_OP UNARY_NEGATIVE UNARY_NOT LOAD_ATTR LOAD_COMMON_CONSTANT LOAD_CONST LOAD_GLOBAL
LOAD_METHOD LOAD_SMALL_INT LOAD_FAST LOAD_FAST_AND_CLEAR LOAD_FAST_BORROW
LOAD_FAST_BORROW_LOAD_FAST_BORROW LOAD_FAST_CHECK LOAD_FAST_LOAD_FAST
STORE_FAST STORE_FAST_LOAD_FAST STORE_FAST_STORE_FAST
GET_ITER FOR_ITER END_FOR POP_ITER JUMP_BACKWARD JUMP_BACKWARD_NO_INTERRUPT JUMP_FORWARD
POP_JUMP_IF_FALSE POP_JUMP_IF_NONE POP_JUMP_IF_NOT_NONE POP_JUMP_IF_TRUE
POP_JUMP_FORWARD_IF_FALSE POP_JUMP_FORWARD_IF_NONE POP_JUMP_FORWARD_IF_NOT_NONE
POP_JUMP_FORWARD_IF_TRUE POP_JUMP_BACKWARD_IF_FALSE POP_JUMP_BACKWARD_IF_TRUE
BEFORE_WITH LOAD_SPECIAL PUSH_EXC_INFO WITH_EXCEPT_START POP_EXCEPT RERAISE
RETURN_CONST RETURN_VALUE
"""
_INSTRUCTIONS = frozenset(dis.opmap[name] for name in _NAMES.split() if name in dis.opmap)

_EXTENDED_ARG, _LOAD_GLOBAL = dis.opmap["EXTENDED_ARG"], dis.opmap["LOAD_GLOBAL"]
_BINARY_OP = dis.opmap["BINARY_OP"]
_IN_PLACE = range(13, 26)
"""Its arguments from `+=` to `^=`: they change a list, whatever name it has here."""


def only_builds_sql(
    function: Callable[..., object], module: types.ModuleType, refused: AbstractSet[str]
) -> bool | None:
    """Whether all that a script's function does is build SQL; `None`: nothing is known.

    Args:
        function: what would be called.
        module: the imported script.
        refused: names that it must not use.
    """
    if not isinstance(function, types.FunctionType) or function.__globals__ is not vars(module):
        return False
    code = function.__code__
    names, text = code.co_names, code.co_code
    instructions = list(zip(text[::2], text[1::2], strict=True))
    if not (NOT_TO_BE_CALLED | refused).isdisjoint(names):
        return False
    if any(_does_more(name, vars(module)) for name in _globals(names, instructions)):
        return False
    plain = (
        not code.co_freevars
        and _INSTRUCTIONS.issuperset(text[::2])
        and not _catches(text[::2])
        and not _remembers(function)
        and not _changes(names, instructions)
        and _all_build_sql(names, vars(module))
    )
    return plain or None


def _globals(names: tuple[str, ...], instructions: Iterable[tuple[int, int]]) -> Iterator[str]:
    """Yield the names that are looked up in the script's module or among the built-in ones."""
    higher = 0
    for code, argument in instructions:
        if code == _LOAD_GLOBAL:
            yield names[(higher | argument) >> 1]  # the lowest bit: whether it is to be called
        higher = (higher | argument) << 8 if code == _EXTENDED_ARG else 0


def _does_more(name: str, known: dict[str, Any]) -> bool:
    """Whether a global does more than build SQL, whatever is made of it."""
    if name not in known:
        return hasattr(builtins, name) and name not in BUILTINS
    found = known[name]
    if isinstance(found, types.ModuleType):  # it depends on what is taken from it
        return False
    if isinstance(found, types.FunctionType) and found.__globals__ is known:
        return False  # it depends on what the function does
    return not builds_sql(found)


def _catches(instructions: bytes) -> bool:
    """Whether there is a handler of exceptions that is not the end of a `with`."""
    handlers, of_with = dis.opmap["PUSH_EXC_INFO"], dis.opmap["WITH_EXCEPT_START"]
    return instructions.count(handlers) != instructions.count(of_with)


def _remembers(function: types.FunctionType) -> bool:
    """Whether its parameters have values, which live as long as the function."""
    return bool(function.__defaults__ or function.__kwdefaults__)


def _changes(names: tuple[str, ...], instructions: Iterable[tuple[int, int]]) -> bool:
    """Whether it may change something that was there before."""
    return (
        not CHANGING.isdisjoint(names)
        or any(name.startswith("__") for name in names)
        or any(code == _BINARY_OP and argument in _IN_PLACE for code, argument in instructions)
    )


def _all_build_sql(names: tuple[str, ...], known: dict[str, Any]) -> bool:
    modules: list[types.ModuleType] = []
    for name in names:
        if name not in known:
            if hasattr(builtins, name) and name not in BUILTINS:
                return False
        elif not _builds_sql(known[name], modules):
            return False
    return all(  # the list grows while it is gone through
        _builds_sql(getattr(module, name), modules)
        for module in modules
        for name in names
        if hasattr(module, name)
    )


def _builds_sql(found: object, modules: list[types.ModuleType]) -> bool:
    if isinstance(found, types.ModuleType) and found not in modules:
        modules.append(found)
    return builds_sql(found)
