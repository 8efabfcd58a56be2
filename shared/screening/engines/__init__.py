"""Screening engines that run without an outside vendor: pure functions of a subject, a date and reference data.

Import what you need from base, ssn_trace or watchlist: the models of reports need base alone, and matching names takes
libraries that a process which only answers requests should not have to load.
"""
