def table_name(revision: str) -> str:
    return f"named_{revision}"
