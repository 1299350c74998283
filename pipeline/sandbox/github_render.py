"""How GitHub writes repositories, threads and comments in its REST answers."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import Any

from pipeline.sandbox.github_store import node_id, thread_node_id
from pipeline.sandbox.world import WorldPost, WorldRepository, WorldThread

SITE = "https://github.com"

_REPOSITORY_LINKS = (
    "archive assignees blobs branches collaborators comments commits compare contents contributors"
    " deployments downloads events forks git_commits git_refs git_tags hooks issue_comment issue_events"
    " issues keys labels languages merges milestones notifications pulls releases stargazers statuses"
    " subscribers subscription tags teams trees"
).split()
_USER_LINKS = (
    "events followers following gists organizations received_events repos starred subscriptions"
).split()


def moment(value: datetime | None) -> str | None:
    """Return a time as GitHub writes it."""
    return None if value is None else f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def thread_url(thread: WorldThread) -> str:
    """Return the address of a thread for people."""
    return f"{SITE}/{thread.repository}/{'pull' if thread.kind == 'pull' else 'issues'}/{thread.number}"


def user(login: str | None, api: str, kind: str = "User") -> dict[str, Any] | None:
    """Return an account, or None for a deleted one."""
    if login is None:
        return None
    number = zlib.crc32(login.encode())
    url = f"{api}/users/{login}"
    return {
        "login": login,
        "id": number,
        "node_id": node_id("U", number),
        "avatar_url": "",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{SITE}/{login}",
        **{f"{name}_url": f"{url}/{name}" for name in _USER_LINKS},
        "type": kind,
        "site_admin": False,
    }


def repository(stored: WorldRepository, api: str, open_threads: int) -> dict[str, Any]:
    """Return a repository; `open_threads` counts its open issues and pull requests."""
    owner, name = stored.full_name.split("/")
    url = f"{api}/repos/{stored.full_name}"
    site = f"{SITE}/{stored.full_name}"
    return {
        "id": stored.id,
        "node_id": node_id("R", stored.id),
        "name": name,
        "full_name": stored.full_name,
        "private": False,
        "owner": user(owner, api, "Organization"),
        "html_url": site,
        "description": None,
        "fork": stored.fork,
        "url": url,
        **{f"{link}_url": f"{url}/{link}" for link in _REPOSITORY_LINKS},
        "git_url": f"git://github.com/{stored.full_name}.git",
        "ssh_url": f"git@github.com:{stored.full_name}.git",
        "clone_url": f"{site}.git",
        "svn_url": site,
        "mirror_url": None,
        "homepage": None,
        "language": "Python",
        "license": None,
        "topics": list(stored.topics),
        "visibility": "public",
        "default_branch": "main",
        "archived": stored.archived,
        "disabled": False,
        **dict.fromkeys(("has_issues", "has_projects", "has_wiki", "has_downloads"), True),
        **dict.fromkeys(("has_pages", "has_discussions"), False),
        "size": 1,
        **dict.fromkeys(("stargazers_count", "watchers_count", "watchers"), stored.stars),
        **dict.fromkeys(("forks", "forks_count", "network_count", "subscribers_count"), 0),
        **dict.fromkeys(("open_issues", "open_issues_count"), open_threads),
        **dict.fromkeys(("created_at", "updated_at", "pushed_at"), moment(stored.created_at)),
    }


def thread(stored: WorldThread, api: str) -> dict[str, Any]:
    """Return an issue, or a pull request in the form of an issue."""
    repository_url = f"{api}/repos/{stored.repository}"
    url = f"{repository_url}/issues/{stored.number}"
    body = {
        "url": url,
        "repository_url": repository_url,
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "html_url": thread_url(stored),
        "id": stored.id,
        "node_id": thread_node_id(stored),
        "number": stored.number,
        "title": stored.title,
        "user": user(stored.posts[0].author, api),
        "labels": [],
        "state": "closed" if stored.closed_at else "open",
        "locked": False,
        "assignee": None,
        "assignees": [],
        "milestone": None,
        "comments": len(stored.posts) - 1,
        "created_at": moment(stored.created_at),
        "updated_at": moment(stored.updated_at),
        "closed_at": moment(stored.closed_at),
        "author_association": "NONE",
        "active_lock_reason": None,
        "body": stored.posts[0].body or None,
        "reactions": _reactions(url),
        "timeline_url": f"{url}/timeline",
        "performed_via_github_app": None,
        "state_reason": "completed" if stored.closed_at and stored.kind == "issue" else None,
    }
    if stored.kind == "pull":
        body["draft"] = False
        body["pull_request"] = _pull_request(stored, repository_url)
    return body


def comment(post: WorldPost, stored: WorldThread, api: str) -> dict[str, Any]:
    """Return one comment of a thread."""
    url = f"{api}/repos/{stored.repository}/issues/comments/{post.id}"
    return {
        "url": url,
        "html_url": f"{thread_url(stored)}#issuecomment-{post.id}",
        "issue_url": f"{api}/repos/{stored.repository}/issues/{stored.number}",
        "id": post.id,
        "node_id": node_id("IC", post.id),
        "user": user(post.author, api),
        "created_at": moment(post.created_at),
        "updated_at": moment(post.created_at),
        "author_association": "NONE",
        "body": post.body,
        "reactions": _reactions(url),
        "performed_via_github_app": None,
    }


def _pull_request(stored: WorldThread, repository_url: str) -> dict[str, Any]:
    site = thread_url(stored)
    return {
        "url": f"{repository_url}/pulls/{stored.number}",
        "html_url": site,
        "diff_url": f"{site}.diff",
        "patch_url": f"{site}.patch",
        "merged_at": moment(stored.merged_at),
    }


def _reactions(url: str) -> dict[str, Any]:
    kinds = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
    return {"url": f"{url}/reactions", "total_count": 0, **dict.fromkeys(kinds, 0)}
