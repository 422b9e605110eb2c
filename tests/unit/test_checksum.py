"""What changes the checksum of a script, and what does not."""

from __future__ import annotations

import ast

import pytest

from automigrate.errors import ScriptImportError
from automigrate.scripts.checksum import _merged, checksum

SCRIPT = '''\
"""Add a table."""
from typing import Union

import sqlalchemy as sa
from alembic import op

# revision identifiers
revision: str = "a1"
down_revision: Union[str, None] = None


def upgrade() -> None:
    """Create it."""
    op.create_table("t", sa.Column("id", sa.Integer(), nullable=False))
    op.execute(f"insert into t values ({1 + 1:>{3}}, {'x'!r})")


def downgrade() -> None:
    op.drop_table("t")
'''

FORMS = '''\
import sqlalchemy as sa
from alembic import op, context as ctx
revision: str = "a"
x = 3.5; big = 10**3 + 0xFFFFFFFFFFFFFFFFFFFFFF - 1j
def upgrade() -> None:
    w = 3
    t = f"a{x!r:>{w}}b" f"{x=}" "c" f"{w:{w}.{w}}" f"{ {'a': 1}['a'] }" f"{x:}" f""
    b = b"\\x00" + bytes([1])
    op.execute(f"""select {w + 1:>10} from "t" where 'é' = '\\u1234'""")
    for i, *r in [(1, 2)]:
        try:
            with op.batch_alter_table("t") as batch, open("x") as f:
                batch.add_column(sa.Column("c", sa.Integer()))
        except (ValueError, KeyError) as e:
            raise RuntimeError from e
        else:
            continue
    def inner(a, /, b, *args, c=1, **kw): return (yield)
    class K(object, metaclass=type):
        pass
    lambda q: (q := 2)
    match w:
        case {"a": [1, *rest]} | 3 if w: ...
        case None: pass
    async def z():
        async with a as b: await c
        return [i async for i in x if i]
    del w; assert x, "m"; global g
    print(x[1:2, ...], -1, not x, x if x else y, *a, **b)
'''

SAME = {
    "comment": ("# revision identifiers", "# something else\n# and more"),
    "quotes": ('"id"', "'id'"),
    "layout": ('op.drop_table("t")', 'op.drop_table(\n        "t",\n    )'),
    "parentheses": ('op.drop_table("t")', '(op.drop_table)(("t"))'),
    "joined text": ('op.drop_table("t")', 'op.drop_table("" "t")'),
    "module docstring": ('"""Add a table."""', '"""Another.\n\nCreate Date: today\n"""'),
    "function docstring": ('    """Create it."""\n', ""),
    "annotation": ("Union[str, None]", "str | None"),
    "no annotation": ("revision: str =", "revision ="),
    "unused import": ("from typing import Union\n", ""),
    "import order": (
        "import sqlalchemy as sa\nfrom alembic import op\n",
        "from alembic import op\nimport sqlalchemy as sa\n",
    ),
    "pass": ('    op.drop_table("t")\n', '    op.drop_table("t")\n    pass\n'),
    "line endings": ("\n", "\r\n"),
    "pieces of an f-string": ('f"insert into t', 'f"insert" f" into t'),
}
OTHER = {
    "string": ('drop_table("t")', 'drop_table("T")'),
    "call": ("op.drop_table", "op.drop_index"),
    "argument": ("nullable=False", "nullable=True"),
    "number": ("{1 + 1", "{1 + 2"),
    "type of a number": ("{1 + 1", "{1 + 1.0"),
    "text of an f-string": ("insert into t", "insert into  t"),
    "conversion": ("!r}", "!s}"),
    "format": (":>{3}", ":<{3}"),
    "down_revision": ("None] = None", 'None] = "a0"'),
    "origin of an import": ("from alembic import op", "from mine import op"),
    "name": ('revision: str = "a1"', 'revision: str = "a1"\nextra = 1'),
    "order": ('    op.create_table("t"', '    op.execute("x")\n    op.create_table("t"'),
}


@pytest.mark.parametrize("change", SAME)
def test_formatting_does_not_count(change: str) -> None:
    """What a formatter, a linter or an editor of comments does leaves the checksum alone."""
    before, after = SAME[change]
    changed = SCRIPT.replace(before, after)
    assert changed != SCRIPT
    assert checksum(changed) == checksum(SCRIPT)


@pytest.mark.parametrize("change", OTHER)
def test_code_counts(change: str) -> None:
    """Every change of code or of a text in it changes the checksum."""
    before, after = OTHER[change]
    changed = SCRIPT.replace(before, after)
    assert changed != SCRIPT
    assert checksum(changed) != checksum(SCRIPT)


def test_bytes_and_text_are_one() -> None:
    """The same script as bytes, with a declared encoding or as text has one checksum."""
    text = "# -*- coding: latin-1 -*-\nname = 'é'\n"
    assert checksum(text.encode("latin-1")) == checksum("name = 'é'") == checksum(text)


def test_empty_bodies_are_one() -> None:
    """A function with a docstring only does what one with pass only does."""
    assert checksum('def upgrade():\n    """Nothing."""\n') == checksum("def upgrade(): pass")


def test_pieces_of_an_f_string_are_merged() -> None:
    """However a Python version splits the text of an f-string, it counts as one."""
    split = [ast.Constant(value=text) for text in ("", "a", "", "b")]
    (merged,) = _merged(split)
    assert ast.dump(merged) == ast.dump(ast.Constant(value="ab"))


def test_star_imports_count() -> None:
    """An import of everything may bring any name, so it always counts."""
    assert checksum("from a import *\n") != checksum("")
    assert checksum("from . import a\na()\n") != checksum("from .. import a\na()\n")


def test_a_bare_annotation_is_no_assignment() -> None:
    """`x: int` binds nothing, `x = None` does."""
    assert checksum("x: int") != checksum("x = None")


def test_nesting_needs_no_stack() -> None:
    """An expression as deep as the parser allows is hashed without recursion."""
    assert len(checksum("x = " + "-" * 90 + "1")) == 64


def test_digests_are_pinned() -> None:
    """Digests in journals and lock files stay valid, on every Python version."""
    assert checksum(FORMS) == "0dcdd0837573b03223611384c0910dc172076caa92f9ebe16cb89537cbd11cbf"
    assert checksum(SCRIPT) == "d58664befe73a780a827bf675431125e87899cf8893c71b341e0179063330349"
    assert checksum("") == "f3dc0622d4e9756182e37f79af12da5a6b45c539e5d28cadc00c17d9c6a9dafb"


def test_a_syntax_error_names_the_file() -> None:
    """A script that does not parse is refused with its file, line and reason."""
    with pytest.raises(ScriptImportError, match=r"versions/x\.py.*line 2") as caught:
        checksum("x = 1\ndef (:\n", "versions/x.py")
    assert caught.value.file == "versions/x.py"


def test_a_null_byte_is_refused() -> None:
    """A file that is no text is refused like a syntax error."""
    with pytest.raises(ScriptImportError, match="null bytes"):
        checksum(b"x = 1\0")
