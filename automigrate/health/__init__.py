"""Readiness of a process: endpoints, gate, maintenance page, metrics and traces."""

from __future__ import annotations

from automigrate.health.endpoints import Endpoints
from automigrate.health.gate import Gate
from automigrate.health.live import LiveCheck, OnFailedLook
from automigrate.health.page import MaintenancePage
from automigrate.health.readiness import Readiness, ReadinessTracker, readiness_of
from automigrate.health.termination import default_termination_log, write_termination_log

__all__ = [
    "Endpoints",
    "Gate",
    "LiveCheck",
    "MaintenancePage",
    "OnFailedLook",
    "Readiness",
    "ReadinessTracker",
    "default_termination_log",
    "readiness_of",
    "write_termination_log",
]
