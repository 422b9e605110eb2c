"""The text of one script, parsed once for all that ask: its checksum, its functions."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from automigrate.scripts.checksum import checksum_of_tree
from automigrate.scripts.companions import ENDING, checksum_with_companions
from automigrate.scripts.files import content, digest_of
from automigrate.scripts.identifiers import syntax_tree

if TYPE_CHECKING:
    from automigrate.scripts.locked import Seal

__all__ = ["ScriptText"]


@dataclass(frozen=True)
class ScriptText:
    """A script's source; only where there is one (`exists`).

    Attributes:
        path: of the file.
        seal: what the lock file knows of it.
    """

    path: str
    seal: Seal | None = None

    @cached_property
    def exists(self) -> bool:
        """Whether the source is there: of a compiled script it is not."""
        return self.path.endswith(".py") and os.path.exists(self.path)  # noqa: PTH110 - Path takes ten times as long

    @cached_property
    def source(self) -> bytes:
        """What is in the file.

        Raises:
            ScriptImportError: it cannot be read.
        """
        return content(self.path)

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree.

        Raises:
            ScriptImportError: it cannot be read, or has a syntax error.
        """
        return syntax_tree(self.source, self.path)

    @cached_property
    def checksum(self) -> str:
        """Hash of its substance, and of the SQL files that it runs.

        Raises:
            ScriptImportError: it, or one of those, cannot be read, or it has a syntax error.
        """
        if ENDING.encode() in self.source:  # the search takes as long as the hash
            return checksum_with_companions(checksum_of_tree(self.tree), self.tree, self.path)
        if self.seal is not None and self.seal.digest == digest_of(self.source):
            return self.seal.checksum
        return checksum_of_tree(self.tree)

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """The functions that it defines at its top level, by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}
