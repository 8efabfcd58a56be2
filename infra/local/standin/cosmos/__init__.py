"""The data plane of Azure Cosmos DB for NoSQL: accounts and their keys, databases, containers, items, queries."""
