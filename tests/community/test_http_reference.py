"""The page of the HTTP API says what the table of endpoints says."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from orgtenancy.community import community
from orgtenancy.endpoints import Endpoint

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "http-api.md"


def row(endpoint: Endpoint) -> str:
    scopes = " ".join(f"`{scope}`" for scope in community.scopes_of(endpoint))
    problems = ", ".join(map(str, endpoint.problems))
    request = f"`{endpoint.method} {endpoint.path}`"
    return f"| {request} | `{endpoint.name}` | {endpoint.summary} | {scopes} | {problems} |"


def tables() -> str:
    lines: list[str] = []
    for chapter, endpoints in groupby(community.endpoints, lambda endpoint: endpoint.tag):
        lines += [f"## {chapter.capitalize()}", ""]
        lines += ["| request | name | | scope | problems |", "| --- | --- | --- | --- | --- |"]
        lines += [*map(row, endpoints), ""]
    return "\n".join(lines)


def test_the_page_lists_every_endpoint() -> None:
    """`python -m tests.community.test_http_reference` writes the tables anew."""
    assert PAGE.read_text().endswith(tables())


if __name__ == "__main__":
    text, beginning = PAGE.read_text(), f"## {community.endpoints[0].tag.capitalize()}\n"
    PAGE.write_text(text.partition(beginning)[0] + tables())
