"""Screening engines that run without an outside vendor: pure functions of a subject, a date and reference data."""

from shared.screening.engines.base import (
    MISSING_REQUIRED_INFORMATION,
    Engine,
    EngineResult,
    Evidence,
    Finding,
    Gender,
    Outcome,
    PotentialMatch,
    Subject,
    mask_ssn,
)
from shared.screening.engines.ssn_trace import SsnTrace
from shared.screening.engines.watchlist import WatchlistEngine, load_directory, load_sample

__all__ = [
    "MISSING_REQUIRED_INFORMATION",
    "Engine",
    "EngineResult",
    "Evidence",
    "Finding",
    "Gender",
    "Outcome",
    "PotentialMatch",
    "SsnTrace",
    "Subject",
    "WatchlistEngine",
    "load_directory",
    "load_sample",
    "mask_ssn",
]
