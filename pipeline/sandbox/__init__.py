"""The three services in miniature, on loopback: for the demo, the tests and the bench."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from pipeline.sandbox.server import Service, ServiceServer
from pipeline.sandbox.world import World, load_world
from pipeline.transport import Clock, SystemClock


class Sandbox:
    """All three services over one world, served while the `with` block lasts.

    `servers` holds the server of each source by its name, with its `service`, `faults` and counts.
    `port_base` N takes the ports N, N+1 and N+2; 0 takes free ones. `options` are the keyword arguments
    of the services, keyed by source name with underscores: `Sandbox(github={"node_budget": 50})`.
    """

    def __init__(
        self,
        world: World | None = None,
        port_base: int = 0,
        clock: Clock | None = None,
        **options: dict[str, Any],
    ) -> None:
        from pipeline.sandbox.discourse import DiscourseService
        from pipeline.sandbox.github import GitHubService
        from pipeline.sandbox.stackexchange import StackExchangeService

        self.clock = clock or SystemClock()
        self._world = world or load_world()
        self.github = GitHubService(self._world, self.clock, **options.pop("github", {}))
        self.stackoverflow = StackExchangeService(self._world, self.clock, **options.pop("stackoverflow", {}))
        self.pytorch_forums = DiscourseService(self._world, self.clock, **options.pop("pytorch_forums", {}))
        if options:
            raise TypeError(f"Sandbox has no service {sorted(options)[0]!r}")
        self.servers: dict[str, ServiceServer] = {}
        self._listen(port_base)

    def _listen(self, port_base: int) -> None:
        services: dict[str, Service] = {
            "github": self.github,
            "stackoverflow": self.stackoverflow,
            "pytorch-forums": self.pytorch_forums,
        }
        try:
            for offset, (name, service) in enumerate(services.items()):
                self.servers[name] = ServiceServer(service, port_base + offset if port_base else 0)
        except BaseException:
            self.stop()
            raise

    @property
    def world(self) -> World:
        """What the services hold; assign another one to change it between requests.

        A thread that is missing from the new world counts as deleted.
        """
        return self._world

    @world.setter
    def world(self, world: World) -> None:
        self._world = self.github.world = self.stackoverflow.world = self.pytorch_forums.world = world

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
