"""Postgres and Redis: cells, SQL, migrations, the checkpointer, scripts, embedded servers."""
