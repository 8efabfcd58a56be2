"""The just-in-time broker: the five steps to a tenant's data, and nothing kept afterwards."""
