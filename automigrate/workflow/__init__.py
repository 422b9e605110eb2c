"""Local work and CI: from models to revisions, and proof that the revisions do what they should.

Everything that must not touch a real database happens in a scratch one, see `scratch`.
"""
