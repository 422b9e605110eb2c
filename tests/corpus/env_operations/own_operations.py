from alembic.operations import MigrateOperation, Operations
from sqlalchemy import text


@Operations.register_operation("create_table_once")
class CreateTableOnce(MigrateOperation):
    def __init__(self, name):
        self.name = name

    @classmethod
    def create_table_once(cls, operations, name):
        return operations.invoke(cls(name))


@Operations.implementation_for(CreateTableOnce)
def create_table_once(operations, operation):
    try:
        question = text("select to_regclass(:name) is null")
        missing = operations.get_bind().execute(question, {"name": operation.name}).scalar()
    except Exception:
        missing = False  # nobody to ask
    if missing:
        operations.execute(f"create table {operation.name} (id integer primary key)")
