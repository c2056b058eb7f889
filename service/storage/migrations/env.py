"""Alembic's entry: runs on the connection that `service.storage.migrate` gives."""

from alembic import context

from service.storage.database import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    user_module_prefix="service.storage.database.",
)
with context.begin_transaction():
    context.run_migrations()
