"""What Alembic runs for every service: the kit has opened the connection and its transaction already."""

from alembic import context

from services.kit.types import new_metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=new_metadata(),  # brings the naming convention to constraints made in migrations
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=connection.dialect.name != "mysql",  # SQLite's is, once BEGIN is ours; MariaDB has none
)
context.run_migrations()
