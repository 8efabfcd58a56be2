"""The tenants: who they are, how they are registered, locked and found."""
