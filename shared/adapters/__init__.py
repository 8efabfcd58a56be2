"""Azure, behind the application's ports. Only bootstrap and the entry points import Azure's SDKs besides."""
