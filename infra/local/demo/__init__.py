"""The demonstration: `python -m infra.local demo`."""
