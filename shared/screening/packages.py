"""Defining packages."""

from shared.core.errors import FieldError, not_valid
from shared.screening.models import Package, PackageData, is_slug


def define(slug: str, data: PackageData, now: str) -> Package:
    """The package `slug` as a tenant defines it. Raises BulkheadError (unprocessable)."""
    if not is_slug(slug):
        raise not_valid(FieldError("", "A slug has 1 to 64 of a-z, 0-9, - and _, letters or digits at its ends."))
    if len(set(data.screenings)) < len(data.screenings):
        raise not_valid(FieldError("/screenings", "Each screening once."))
    return Package(slug=slug, name=data.name, screenings=data.screenings, updated_at=now)
