"""What a script's text says about its way back."""

from __future__ import annotations

import pytest

from automigrate.workflow.downgrades import Way, way_back

UP = "def upgrade():\n    op.create_table('t')\n\n"


@pytest.mark.parametrize(
    ("source", "way"),
    [
        (UP + "def downgrade():\n    op.drop_table('t')\n", Way.WRITTEN),
        (UP + "def downgrade():\n    pass\n", Way.MISSING),
        (UP + 'def downgrade():\n    """Undo."""\n', Way.MISSING),
        (UP, Way.MISSING),
        (UP + "def downgrade():\n    raise NotImplementedError\n", Way.IRREVERSIBLE),
        (UP + "def downgrade():\n    # nothing to undo: data only\n    pass\n", Way.NOTHING),
        ("def upgrade():\n    pass\n\ndef downgrade():\n    pass\n", Way.WRITTEN),
        ("def upgrade(:\n", Way.WRITTEN),
    ],
)
def test_each_way_is_told(source: str, way: Way) -> None:
    """An empty downgrade is missing, unless it says that it is meant."""
    assert way_back(source).way is way


def test_the_line_is_that_of_the_function() -> None:
    """So that an annotation stands where the work is to be done."""
    assert way_back(UP + "def downgrade():\n    pass\n").line == 4
