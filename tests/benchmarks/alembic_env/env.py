"""The environment of a host that upgrades its schemas with Alembic's own commands.

The connection, in the schema already, comes with the configuration; from the command line
there is none, and the schema comes as `-x schema=...`.
"""

from alembic import context
from psycopg import sql
from sqlalchemy import Connection, create_engine


def run(connection: Connection) -> None:
    """Run the revisions in the connection's transaction."""
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    url = context.config.get_main_option("sqlalchemy.url")
    assert url is not None
    with create_engine(url).begin() as own:
        schema = sql.Identifier(context.get_x_argument(as_dictionary=True)["schema"])
        own.exec_driver_sql(sql.SQL("SET LOCAL search_path TO {}").format(schema).as_string(None))
        run(own)
