"""The migration scripts: where they are, what history they form, without importing them."""
