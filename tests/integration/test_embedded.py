"""Embedded PostgreSQL: started, shared, restarted, and never left behind."""

from __future__ import annotations
