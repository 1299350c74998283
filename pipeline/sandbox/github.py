"""The sandboxed GitHub: who asks, whether they may, and what is left of their limits.

It refuses what the live service refuses, with the same status and body, and in strict mode also what
it does not model. Checks come in GitHub's order: user agent, token, version, limits, required token,
validation, existence. The routes are in `github_rest`, GraphQL in `github_graphql`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from pipeline.sandbox.github_answers import Refused, conditional, json_answer
from pipeline.sandbox.github_graphql import GraphQLRun
from pipeline.sandbox.github_rest import NEW_VERSION, Incomplete, Rest
from pipeline.sandbox.github_store import GitHubStore
from pipeline.sandbox.limits import Quota, RateWindows
from pipeline.sandbox.server import Request, Response
from pipeline.sandbox.world import World
from pipeline.transport import Clock

DEFAULT_VERSION = "2022-11-28"
NO_USER_AGENT = (
    "Request forbidden by administrative rules. Please make sure your request has a User-Agent header."
)

# resource: (with a token, without one)
LIMITS = {"core": (5000, 60), "search": (30, 10), "graphql": (5000, 0)}
WINDOWS = {"core": timedelta(hours=1), "search": timedelta(minutes=1), "graphql": timedelta(hours=1)}
REQUESTS_A_MINUTE = {"rest": 900, "graphql": 2000}  # more is a secondary limit


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and with which version of the API."""

    key: str
    anonymous: bool
    version: str = DEFAULT_VERSION


class GitHubService:
    """GitHub over a world; `store` is what it holds and what tests change.

    `revoked` holds tokens that are refused, `incomplete` scripted time-outs of searches. Options:
    `limits` overrides windows by resource, (with a token, without); `limited_status` is what a used-up
    window answers, 403 or 429; `advanced` makes the advanced search dialect the default;
    `node_budget` is GraphQL's tolerance (see `GraphQLRun`); `secondary` False lifts the secondary limits.
    """

    name = "github"

    def __init__(
        self,
        world: World,
        clock: Clock,
        *,
        strict: bool = True,
        advanced: bool = False,
        limits: dict[str, tuple[int, int]] | None = None,
        limited_status: int = 403,
        node_budget: int | None = None,
        secondary: bool = True,
    ) -> None:
        self.clock = clock
        self.base_url = ""
        self.strict = strict
        self.limits = LIMITS | (limits or {})
        self.limited_status = limited_status
        self.node_budget = node_budget
        self.secondary = secondary
        self._world = world
        self.store = GitHubStore(world)
        self.revoked: set[str] = set()
        self._windows = RateWindows(clock)
        self._rest = Rest(self.store, strict, advanced)

    @property
    def world(self) -> World:
        """The world that was last assigned; what `store` was told since is not in it."""
        return self._world

    @world.setter
    def world(self, world: World) -> None:
        self._world = world
        self.store.become(world)

    @property
    def incomplete(self) -> list[Incomplete]:
        """The searches that are scripted to time out."""
        return self._rest.incomplete

    def answer(self, request: Request) -> Response:
        """Return what GitHub would."""
        self._rest.api = self.base_url
        resource = {"/graphql": "graphql"}.get(
            request.path, "search" if request.path.startswith("/search/") else "core"
        )
        caller = Caller(request.client, anonymous=True)
        try:
            caller = self._caller(request)
            response = self._permitted(request, caller, resource)
        except Refused as refused:
            response = refused.response()
        headers = self._rate_headers(caller, resource) | {"x-github-api-version-selected": caller.version}
        return replace(response, headers=headers | response.headers)

    def quota(self, token: str | None, resource: str) -> Quota:
        """Return how the window of a resource stands for a token, None for an anonymous client here."""
        return self._quota(Caller(token or "127.0.0.1", token is None), resource)

    def exhaust(self, token: str | None, resource: str) -> None:
        """Use up the window of a resource."""
        caller = Caller(token or "127.0.0.1", token is None)
        self._windows.exhaust((resource, caller.key), self._limit(caller, resource), WINDOWS[resource])

    def _caller(self, request: Request) -> Caller:
        if not request.headers.get("user-agent", "").strip():
            raise Refused(403, NO_USER_AGENT)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme and (
            scheme.lower() not in ("token", "bearer") or not token.strip() or token in self.revoked
        ):
            raise Refused(401, "Bad credentials")
        version = request.headers.get("x-github-api-version", DEFAULT_VERSION)
        if version not in (DEFAULT_VERSION, NEW_VERSION):
            raise Refused(400, f"The API version {version!r} is not supported.")
        return Caller(token or request.client, not token, version)

    def _permitted(self, request: Request, caller: Caller, resource: str) -> Response:
        if request.path == "/rate_limit":
            return json_answer(self._rate_limit(caller))
        if resource == "graphql":
            return self._graphql(request, caller)
        self._check_primary(caller, resource)
        self._check_secondary(caller, resource)
        try:
            response = self._rest.answer(request, caller.version)
        except Refused:
            self._spend(caller, resource)
            raise
        if resource == "core":
            response = conditional(request, response)
        if response.status != 304:
            self._spend(caller, resource)
        return response

    def _graphql(self, request: Request, caller: Caller) -> Response:
        if caller.anonymous:
            raise Refused(401, "This endpoint requires you to be authenticated.")
        if request.method != "POST":
            raise Refused(404, "Not Found")
        self._check_secondary(caller, "graphql")
        try:
            asked = json.loads(request.body)
            text, variables = str(asked["query"]), dict(asked.get("variables") or {})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Refused(400, "Problems parsing JSON") from None
        run = GraphQLRun(self.store, self.strict, self.node_budget, lambda points: self._pay(caller, points))
        return json_answer(run.answer(text, variables))

    def _pay(self, caller: Caller, points: int) -> Quota | None:
        paid = self._spend(caller, "graphql", points)
        return self._quota(caller, "graphql") if paid else None

    def _check_primary(self, caller: Caller, resource: str) -> None:
        if self._quota(caller, resource).remaining == 0:
            whom = caller.key if caller.anonymous else "user ID 1"
            raise Refused(self.limited_status, f"API rate limit exceeded for {whom}.")

    def _check_secondary(self, caller: Caller, resource: str) -> None:
        family = "graphql" if resource == "graphql" else "rest"
        key = ("secondary", family, caller.key)
        if self.secondary and not self._windows.spend(key, REQUESTS_A_MINUTE[family], timedelta(minutes=1)):
            raise Refused(
                403,
                "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
            )

    def _limit(self, caller: Caller, resource: str) -> int:
        return self.limits[resource][1 if caller.anonymous else 0]

    def _quota(self, caller: Caller, resource: str) -> Quota:
        return self._windows.look((resource, caller.key), self._limit(caller, resource), WINDOWS[resource])

    def _spend(self, caller: Caller, resource: str, amount: int = 1) -> bool:
        key = (resource, caller.key)
        return self._windows.spend(key, self._limit(caller, resource), WINDOWS[resource], amount)

    def _rate_headers(self, caller: Caller, resource: str) -> dict[str, str]:
        written = {
            f"x-ratelimit-{name}": str(value)
            for name, value in _written(self._quota(caller, resource)).items()
        }
        return {**written, "x-ratelimit-resource": resource}

    def _rate_limit(self, caller: Caller) -> dict[str, Any]:
        resources = {resource: _written(self._quota(caller, resource)) for resource in LIMITS}
        rate = {} if caller.version == NEW_VERSION else {"rate": resources["core"]}
        return {"resources": resources, **rate}


def _written(quota: Quota) -> dict[str, int]:
    reset = -int(-quota.reset_at.timestamp() // 1)
    return {"limit": quota.limit, "remaining": quota.remaining, "used": quota.used, "reset": reset}
