"""Azure as the stand-in plays it: all services over one world, wired together."""

from infra.local.standin.account_operations import AccountOperations
from infra.local.standin.authorization import Authorization
from infra.local.standin.cosmos.accounts import Accounts
from infra.local.standin.cosmos.service import CosmosService
from infra.local.standin.directories import Directories
from infra.local.standin.entra import Entra
from infra.local.standin.graph import Graph
from infra.local.standin.jwt import TokenIssuer
from infra.local.standin.key_vault import KeyVault
from infra.local.standin.locks import Locks
from infra.local.standin.managed_identity import ManagedIdentity
from infra.local.standin.regenerations import Regenerations
from infra.local.standin.resource_manager import ResourceManager
from infra.local.standin.resources import Resources
from infra.local.standin.service_bus import ServiceBus
from infra.local.standin.vaults import Vaults
from infra.local.standin.wire import HttpService, World


class Azure:
    """Every service and the state behind it. `hosts` maps host names to the services that answer for them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tokens = TokenIssuer(world)
        self.directories = Directories(world)
        self.authorization = Authorization(world)
        self.resources = Resources(world)
        self.vaults = Vaults(world)
        self.accounts = Accounts(world)
        self.regenerations = Regenerations(world, self.accounts)
        self.account_operations = AccountOperations(world, self.accounts, self.regenerations)
        self.locks = Locks(world)
        self.cosmos = CosmosService(world, self.accounts, self.tokens)
        self.managed_identity = ManagedIdentity(world, self.directories, self.tokens)
        self.service_bus = ServiceBus(world)
        self.hosts: dict[str, HttpService] = {
            "login.microsoftonline.com": Entra(world, self.directories, self.accounts, self.tokens),
            "management.azure.com": ResourceManager(
                world,
                self.resources,
                self.directories,
                self.authorization,
                self.account_operations,
                self.locks,
                self.tokens,
            ),
            "graph.microsoft.com": Graph(),
            "*.vault.azure.net": KeyVault(world, self.vaults, self.directories, self.authorization, self.tokens),
            "*.documents.azure.com": self.cosmos,
        }
