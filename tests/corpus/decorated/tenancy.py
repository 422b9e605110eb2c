from functools import wraps

import sqlalchemy as sa
from alembic import op


def for_each_tenant(function):
    @wraps(function)
    def run():
        for (schema,) in op.get_bind().execute(sa.text("select name from tenant order by name")):
            function(schema)

    return run
