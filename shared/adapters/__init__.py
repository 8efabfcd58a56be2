"""Azure, behind the application's ports. The only package besides the entry points that imports the Azure SDKs."""
