"""The part of the NoSQL query language that Bulkhead's stores use: parsed, evaluated, planned, paged."""
