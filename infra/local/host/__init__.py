"""A local Azure Functions host: runs a project's `function_app.py` on Microsoft's own worker library.

For development, tests and demonstrations; production is Azure Functions. What it offers behaves as Azure's host
does, which was read from that host's source (Azure/azure-functions-host, azure-webjobs-sdk-extensions,
azure-sdk-for-net) where the documentation is silent.

Offered: HTTP, Service Bus queue and timer triggers of the Python v2 programming model, app settings, host.json, access
keys. Refused at the start, with the function's name: every other trigger and binding (output bindings too), topics,
SDK types and settlement clients, HTTP streaming, time spans as schedules (App Service plans alone have them). Not
offered: the admin endpoints; CORS, Easy Auth and what else Azure's front end adds to a request; dynamic concurrency and
prefetching; time zones other than UTC.

    python -m infra.local.host --app DIR --port P      one process
    infra.local.host.supervisor.Supervisor             several, restarted when they crash, behind one port
"""
