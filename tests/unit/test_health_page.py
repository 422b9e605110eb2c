from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from automigrate.events import Phase
from automigrate.health.page import MaintenancePage, content_security_policy
from automigrate.health.readiness import Readiness


def rendered(readiness: Readiness, *, follow: bool = True, failed: bool = False) -> str:
    """Return the page for a readiness, 65 seconds after its run began."""
    page = MaintenancePage()
    return page.render(page.view(readiness, 65.0, failed=failed), follow=follow).decode()


MIGRATING = Readiness(
    phase=Phase.MIGRATING, begun=True, revision="secret_revision", done=1, total=4, percent=31.5
)


def test_the_page_shows_step_share_and_time_without_javascript() -> None:
    """All that the script would show is in the document itself."""
    page = rendered(MIGRATING)
    assert "Step 2 of 4" in page
    assert 'value="31.5"' in page
    assert "1:05" in page
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in page


def test_the_page_shows_nothing_of_the_database() -> None:
    """Revisions are for engineers."""
    assert "secret_revision" not in rendered(MIGRATING)


def test_the_page_loads_nothing_from_anywhere() -> None:
    """Self-contained: no address in it at all."""
    page = rendered(MIGRATING)
    assert not re.search(
        r"https?://|src=|href=|url\(|@import", page.replace("window.location.href", "")
    )


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_a_page(phase: Phase) -> None:
    """Whatever the phase, the page is whole and has no gap."""
    page = rendered(Readiness(phase=phase, begun=True))
    assert "$" not in page
    assert f'data-phase="{"connecting" if phase is Phase.FAILED else phase.value}"' in page


def test_a_failure_for_good_is_said_so() -> None:
    """A visitor is not left waiting before a bar that will not move."""
    page = rendered(Readiness(phase=Phase.FAILED), failed=True)
    assert "Not available right now" in page
    assert 'data-phase="failed"' in page


def test_a_form_that_was_sent_is_not_sent_again_by_the_page() -> None:
    """No refresh after a form, and the page says that it was not taken."""
    page = rendered(MIGRATING, follow=False)
    assert "http-equiv" not in page
    assert "What you sent was not taken." in page
    assert 'data-follow="no"' in page


def test_a_bar_without_measure_has_no_value() -> None:
    """An unknown share is shown as unknown, not as zero."""
    assert "value=" not in rendered(Readiness(phase=Phase.WAITING_FOR_LOCK, begun=True))


def test_own_words_are_escaped() -> None:
    """An application's words are text, never markup."""
    page = MaintenancePage(title="<b>", heading="<script>alert(1)</script>")
    document = page.render(page.view(MIGRATING, 1.0, failed=False), follow=True).decode()
    assert "<script>alert" not in document
    assert "&lt;b&gt;" in document


def test_the_policy_allows_exactly_the_style_and_the_script_of_the_page() -> None:
    """The digests in the policy are those of what the document holds."""
    page = rendered(MIGRATING)
    policy = content_security_policy()
    for tag in ("style", "script"):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(found) == 1
        digest = base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert " style=" not in page
    assert not re.search(r"\son\w+=", page)


class Structure(HTMLParser):
    """Collects the elements of a document, and whether they are nested properly."""

    VOID = frozenset({"meta", "circle", "path", "link", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: dict[str, dict[str, str | None]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.found[tag] = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that the innermost element ends."""
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_can_be_read_by_assistive_technology() -> None:
    """Language, main landmark, labelled progress bar, polite status, decoration hidden."""
    structure = Structure()
    structure.feed(rendered(MIGRATING))
    assert structure.open == []
    found = structure.found
    assert found["html"]["lang"] == "en"
    assert found["progress"]["aria-labelledby"] == "heading"
    assert found["svg"]["aria-hidden"] == "true"
    assert {"main", "h1", "title"} <= set(found)
    assert 'role="status"' in rendered(MIGRATING)
    assert "prefers-reduced-motion" in rendered(MIGRATING)
