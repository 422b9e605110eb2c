"""The maintenance page that a browser gets while the gate is closed.

One self-contained document: no request to anywhere but its own address, light and dark, readable
without JavaScript (it refreshes by itself then), and calm: it says what is going on and how far
it is, and turns into the application by itself. It shows nothing of the database.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from automigrate.events import Phase

if TYPE_CHECKING:
    from automigrate.health.readiness import Readiness

__all__ = ["MaintenancePage", "PageView"]

REFRESH_SECONDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """What the page shows at one moment."""

    phase: str
    heading: str
    text: str
    step: str
    percent: float | None
    """0 to 100; `None` for a bar without measure."""
    elapsed_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenancePage:
    """The words of the page; the application may bring its own."""

    title: str = "Back in a moment"
    heading: str = "Back in a moment"
    text: str = "An update is being put in place. This page opens by itself when it is done."
    failed_heading: str = "Not available right now"
    failed_text: str = (
        "The update could not be completed. This page opens by itself as soon as it can."
    )

    def view(self, readiness: Readiness, now: float, *, failed: bool) -> PageView:
        """Choose what to show for a readiness; `failed` when nothing more is tried."""
        measured = readiness.phase is Phase.MIGRATING and bool(readiness.percent)
        return PageView(
            phase=Phase.FAILED.value if failed else _phase(readiness).value,
            heading=self.failed_heading if failed else self.heading,
            text=self.failed_text if failed else self.text,
            step="" if failed else _step(readiness),
            percent=readiness.percent if measured else None,
            elapsed_seconds=round(readiness.elapsed_seconds(now), 1),
        )

    def render(self, view: PageView, *, follow: bool) -> bytes:
        """Return the document.

        Args:
            view: what to show.
            follow: whether the page may load its address again. Not for the answer to a form:
                it would look as if the form had been accepted.
        """
        refresh = f'<noscript><meta http-equiv="refresh" content="{REFRESH_SECONDS}"></noscript>'
        value = "" if view.percent is None else f' value="{view.percent:.1f}"'
        return (
            _template()
            .substitute(
                phase=html.escape(view.phase),
                follow="yes" if follow else "no",
                title=html.escape(self.title),
                refresh=refresh if follow else "",
                heading=html.escape(view.heading),
                text=html.escape(view.text),
                note="" if follow else _NOT_SENT,
                value=value,
                step=html.escape(view.step),
                time=_clock(view.elapsed_seconds),
            )
            .encode()
        )


_NOT_SENT = (
    '<p class="note">What you sent was not taken. '
    "Go back and send it once more when the update is done.</p>"
)


def content_security_policy() -> str:
    """Return the policy under which the page, and nothing that is put into it, may run."""
    style, script = (_digest(tag) for tag in ("style", "script"))
    return (
        f"default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _phase(readiness: Readiness) -> Phase:
    # Between two attempts of the gate a failure is nothing that a visitor has to know.
    return Phase.CONNECTING if readiness.phase is Phase.FAILED else readiness.phase


def _step(readiness: Readiness) -> str:
    match _phase(readiness):
        case Phase.MIGRATING if readiness.total:
            step = min(readiness.done + 1, readiness.total)
            return f"Step {step} of {readiness.total}"
        case Phase.MIGRATING:
            return "Updating"
        case Phase.WAITING_FOR_LOCK:
            return "Another instance is putting it in place"
        case Phase.READY:
            return "Opening"
        case Phase.STOPPING:
            return "Restarting"
        case Phase.STARTING | Phase.CONNECTING | Phase.FAILED:
            return "Getting ready"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@cache
def _source() -> str:
    return resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")


@cache
def _template() -> Template:
    return Template(_source())


@cache
def _digest(tag: str) -> str:
    """Return the CSP source expression of the content of the page's only such element."""
    match = re.search(rf"<{tag}>(.*?)</{tag}>", _source(), re.DOTALL)
    if match is None:
        raise LookupError(f"page.html has no <{tag}>")
    digest = hashlib.sha256(match[1].encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
