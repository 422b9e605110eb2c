"""For the tests of applications: real migrated databases, and ready tests of their migrations.

`automigrate.testing.plugin` brings pytest fixtures, `automigrate.testing.contract` ready tests,
`automigrate.testing.faults` breaks runs on purpose. Nothing is imported until it is used.
"""
