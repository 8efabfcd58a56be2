"""The Functions app: registers what this deployment's plane serves. Holds no logic."""

from shared.loading import loading

with loading():
    import azure.functions as func

    from shared.entrypoints import http_candidates, http_public, http_reports, http_tenants, http_unknown, jobs
    from shared.settings import Settings

app = func.FunctionApp()
app.register_functions(http_public.blueprint)
app.register_functions(http_unknown.blueprint)

_plane = Settings.from_env().plane
if _plane in ("data", "all"):
    app.register_functions(http_candidates.blueprint)
    app.register_functions(http_reports.blueprint)
    app.register_functions(http_tenants.tenant_blueprint)
    app.register_functions(jobs.blueprint)
if _plane in ("control", "all"):
    app.register_functions(http_tenants.publisher_blueprint)
