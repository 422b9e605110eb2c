"""What stands beside a backup: which moment of which tables it holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automigrate.errors import BackupError

if TYPE_CHECKING:
    from automigrate.verdict import BackupReport

__all__ = ["MANIFEST", "Manifest", "read", "write"]

MANIFEST = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a restore has to know."""

    heads: tuple[str, ...]
    tables: tuple[str, ...]
    """As quoted SQL; empty: all there were."""
    created: str = ""


def write(path: Path, connection_info: Any, report: BackupReport, created: str) -> None:
    """Write it; before the backup gets its name, so that none is ever without."""
    manifest = {
        "database": connection_info.dbname,
        "heads": report.heads,
        "created": created,
        "server_version": connection_info.server_version,
        "size": report.size,
        "tables": report.tables,
        "restore_point": report.restore_point,
        "lsn": report.lsn,
    }
    target = path.with_name(path.name + MANIFEST)
    target.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    target.chmod(0o600)


def read(path: str) -> Manifest | None:
    """Read it; `None` where there is none, as for a dump that was made by hand.

    Raises:
        BackupError: it cannot be understood.
    """
    file = Path(path.rstrip("/") + MANIFEST)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Manifest(
            heads=tuple(found["heads"]),
            tables=tuple(found["tables"]),
            created=found.get("created", ""),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(reason=f"{file} cannot be read: {error!r}") from error
