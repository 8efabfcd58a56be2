"""Resource paths: which resource a URL names, and the type and link that its signature covers.

Source: learn.microsoft.com/rest/api/cosmos-db/access-control-on-cosmosdb-resources (resource type and link of the
string to sign) and .../cosmosdb-resource-uri-syntax-for-rest. Only names are addressed, never `_rid`s: the SDKs for
Python send names for every operation that is implemented here.
"""

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote


class Link(NamedTuple):
    """A parsed path such as /dbs/a/colls/b/docs/c; ids that it does not name are empty.

    A feed (`/dbs/a/colls/b/docs`), to which POST adds and which GET lists, names the type but no member.
    """

    is_feed: bool
    resource_type: str  # the second line of the string to sign: `dbs`, `colls`, `docs`, ...; empty for the account
    resource_link: str  # the third line: the resource's full name, or its parent's for a feed
    database: str
    container: str
    item: str


@lru_cache(maxsize=4096)
def parse_link(path: str) -> Link:
    """The link of a raw, percent-encoded URL path."""
    segments = [unquote(segment) for segment in path.split("/") if segment]
    kinds, ids = segments[::2], segments[1::2]
    is_feed = len(kinds) > len(ids)
    database, container, item, *_ = [*ids, "", "", ""]
    return Link(
        is_feed, kinds[-1] if kinds else "", "/".join(segments[:-1] if is_feed else segments), database, container, item
    )
