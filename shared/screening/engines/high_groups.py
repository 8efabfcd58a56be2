"""The Social Security Administration's last High Group List, as of 24 June 2011.

Until then, numbers were issued area by area (first three digits) and, within an area, group by group (middle two) in
the fixed order of `GROUP_ORDER`. The list names the group that each area was issuing on its date. On the next day
issuance became random and the list was frozen; it stays valid for numbers issued before. A work of the US government.
Sources: SSA, "High Group List" (ssa.gov/employer/ssnvhighgroup.htm) and "SSN Randomization" (ssa.gov/employer/
randomization.html); the order: SSA, "The SSN Numbering Scheme" (ssa.gov/employer/ssnweb.htm).
"""

from datetime import date
from typing import Final

RANDOMIZED_ON: Final = date(2011, 6, 25)

GROUP_ORDER: Final[tuple[int, ...]] = (
    *range(1, 10, 2),  # odd 01 to 09
    *range(10, 99, 2),  # even 10 to 98
    *range(2, 9, 2),  # even 02 to 08
    *range(11, 100, 2),  # odd 11 to 99
)

_RANK: Final = {group: rank for rank, group in enumerate(GROUP_ORDER)}

# Areas (or a range of them) with the group being issued in each.
_LIST: Final = """
001-002 11, 003 08, 004-005 13, 006-007 11, 008-021 94, 022-034 92, 035-039 74, 040-049 15, 050-105 02,
106-134 98, 135-138 25, 139-158 23, 159-195 86, 196-211 84, 212-215 91, 216-220 89, 221 13, 222 11,
223-231 99, 232-235 57, 236 55, 237-267 99, 268-278 17, 279-302 15, 303-310 37, 311-317 35, 318-345 11,
346-361 08, 362-369 39, 370-386 37, 387-397 33, 398-399 31, 400-407 73, 408-415 99, 416-423 67, 424 65,
425-439 99, 440-442 29, 443-448 27, 449-467 99, 468-472 57, 473-477 55, 478 43, 479-485 41, 486-500 29,
501-502 37, 503-504 45, 505 59, 506-508 57, 509-512 33, 513-515 31, 516-517 49, 518 89, 519 87, 520 61,
521-530 99, 531-539 71, 540-541 83, 542-544 81, 545-573 99, 574 61, 575-576 99, 577-579 53, 580 41,
581-585 99, 586 67, 587 99, 588 09, 589-595 99, 596 94, 597-599 92, 600-601 99, 602-619 87, 620-626 85,
627-636 31, 637-645 29, 646 23, 647 21, 648 58, 649 56, 650-652 62, 653 60, 654 38, 655-658 36,
659-660 24, 661-665 22, 667-675 48, 676-678 22, 679 20, 680 31, 681-689 24, 690 22, 691-692 18,
693-699 16, 700-723 18, 724 28, 725-726 18, 727 10, 728 14, 729-732 28, 733 26, 750 20, 751 18, 752 09,
753-755 07, 756-763 12, 764 29, 765 27, 766 04, 767-772 02
"""


def _read(text: str) -> dict[int, int]:
    groups: dict[int, int] = {}
    for item in text.replace("\n", " ").split(","):
        areas, group = item.split()
        first, _, last = areas.partition("-")
        groups.update(dict.fromkeys(range(int(first), int(last or first) + 1), int(group)))
    return groups


HIGH_GROUPS: Final[dict[int, int]] = _read(_LIST)


def issued_before_randomization(area: int, group: int) -> bool | None:
    """Whether a number of this area and group was issued before 25 June 2011.

    True for a group already exhausted then, False for one not reached by then, None for the group that was being
    issued: part of it may have been given out later.
    """
    high_group = HIGH_GROUPS.get(area)
    if high_group is None or _RANK[group] > _RANK[high_group]:
        return False
    return True if group != high_group else None
