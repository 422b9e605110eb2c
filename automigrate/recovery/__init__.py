"""The way back: rollback from any release, repair, adoption of databases, backup and restore."""
