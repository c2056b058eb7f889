"""Shared state on SQLite or Postgres: one database object, its types, leases and heartbeats."""
