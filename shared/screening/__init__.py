"""The domain: candidates, authorizations, packages, reports and their screenings."""
