"""Resource paths: which resource a URL names, and the type and link that its signature covers.

Source: learn.microsoft.com/rest/api/cosmos-db/access-control-on-cosmosdb-resources (resource type and link of the
string to sign) and .../cosmosdb-resource-uri-syntax-for-rest. Only names are addressed, never `_rid`s: the SDKs for
Python send names for every operation that is implemented here.
"""

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote


@dataclass(slots=True, frozen=True)
class Link:
    """A parsed path such as /dbs/a/colls/b/docs/c. A feed (`/dbs/a/colls/b/docs`) names the type but no member."""

    segments: tuple[str, ...]

    @property
    def is_feed(self) -> bool:
        """True for a collection of resources, to which POST adds and which GET lists."""
        return len(self.segments) % 2 == 1

    @property
    def resource_type(self) -> str:
        """The second line of the string to sign: `dbs`, `colls`, `docs`, `pkranges`, ...; empty for the account."""
        if not self.segments:
            return ""
        return self.segments[-1] if self.is_feed else self.segments[-2]

    @property
    def resource_link(self) -> str:
        """The third line: the resource's full name, or its parent's for a feed."""
        return "/".join(self.segments[:-1] if self.is_feed else self.segments)

    @property
    def database(self) -> str | None:
        """Id of the database."""
        return self.segments[1] if len(self.segments) > 1 else None

    @property
    def container(self) -> str | None:
        """Id of the container."""
        return self.segments[3] if len(self.segments) > 3 else None

    @property
    def item(self) -> str | None:
        """Id of the item."""
        return self.segments[5] if len(self.segments) > 5 else None


@lru_cache(maxsize=4096)
def parse_link(path: str) -> Link:
    """The link of a raw, percent-encoded URL path."""
    return Link(tuple(unquote(segment) for segment in path.split("/") if segment))
