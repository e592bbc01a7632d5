"""What Alembic runs: the steps, in the transaction and under the lock that `records.store.migrate` holds."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
