"""The stand-in for Azure: one asyncio process that speaks Azure's wire protocols to the unmodified SDKs."""
