"""Azure Service Bus queues over AMQP 1.0."""

from infra.local.standin.service_bus.service import ServiceBus

__all__ = ["ServiceBus"]
