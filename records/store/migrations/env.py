"""Alembic's entry point: runs the steps in the transaction and under the lock of `records.store.migrate`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
