"""A local Azure Functions host: runs a project's `function_app.py` on Microsoft's own worker library.

For development, tests and demonstrations; production is Azure Functions. What it offers behaves as Azure's host
does, which was read from that host's source (Azure/azure-functions-host, azure-webjobs-sdk-extensions,
azure-sdk-for-net) where the documentation is silent.
"""
