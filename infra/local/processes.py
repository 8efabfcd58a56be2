"""What every process of the local stack does: end when it is told to, and write files that nobody reads half of."""

import asyncio
import os
import signal
from pathlib import Path

_PARENT_POLL = 1.0  # seconds


def told_to_end(parent: int | None = None) -> asyncio.Event:
    """What SIGTERM and SIGINT set from now on, and the end of the process `parent` that started this one."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)

    def look() -> None:  # nothing tells of a parent's end
        if os.getppid() == parent:
            loop.call_later(_PARENT_POLL, look)
        else:
            told.set()

    if parent is not None:
        look()
    return told


def write_whole(path: Path, text: str) -> None:
    """Write a file at once, in the place of the one that is there."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)  # noqa: PTH105 - atomic, and named for it
