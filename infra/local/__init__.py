"""The local stack: an embedded stand-in for Azure and a Functions host. For development, tests and demos only."""
