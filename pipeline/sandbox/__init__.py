"""The three services in miniature, on loopback: for the demo, the tests and the bench."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from pipeline.sandbox.server import Service, ServiceServer
from pipeline.sandbox.world import World
from pipeline.transport import Clock, SystemClock


class Sandbox:
    """All three services over one world, served while the `with` block lasts.

    `port_base` N takes the ports N, N+1 and N+2; 0 takes free ones. `options` are keyword arguments of
    a service, keyed by source name with underscores: `Sandbox(github={"graphql_limit": 50})`.
    """

    def __init__(
        self,
        world: World | None = None,
        port_base: int = 0,
        clock: Clock | None = None,
        **options: dict[str, Any],
    ) -> None:
        self.clock = clock or SystemClock()
        self.servers: dict[str, ServiceServer] = {}
        services = _services(world or _default_world(), self.clock, options)
        try:
            for offset, (name, service) in enumerate(services.items()):
                self.servers[name] = ServiceServer(service, port_base + offset if port_base else 0)
        except BaseException:
            self.stop()
            raise

    @property
    def urls(self) -> dict[str, str]:
        """The root of each service, keyed by source name."""
        return {name: server.url for name, server in self.servers.items()}

    @property
    def requests(self) -> dict[str, int]:
        """How many requests each service got, keyed by source name."""
        return {name: server.requests for name, server in self.servers.items()}

    def start(self) -> None:
        """Begin to serve."""
        for server in self.servers.values():
            server.start()

    def stop(self) -> None:
        """Stop serving and free the ports."""
        for server in self.servers.values():
            server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _default_world() -> World:
    from pipeline.sandbox.world import load_world

    return load_world()


def _services(world: World, clock: Clock, options: dict[str, dict[str, Any]]) -> dict[str, Service]:
    from pipeline.sandbox.discourse import DiscourseService
    from pipeline.sandbox.github import GitHubService
    from pipeline.sandbox.stackexchange import StackExchangeService

    return {
        "github": GitHubService(world, clock, **options.get("github", {})),
        "stackoverflow": StackExchangeService(world, clock, **options.get("stackoverflow", {})),
        "pytorch-forums": DiscourseService(world, clock, **options.get("pytorch_forums", {})),
    }
