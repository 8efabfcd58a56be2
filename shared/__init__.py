"""Bulkhead: a multi-tenant background-check service. Layout and invariants: docs/architecture.md."""
