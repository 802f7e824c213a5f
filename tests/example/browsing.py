"""Pages in a headless Chromium, and how somebody signs in there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.example.demo import Demo

if TYPE_CHECKING:
    from playwright.sync_api import Page

LAPTOP = (1280, 800)
PHONE = (390, 844)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NORTHWIND = "Northwind Climbing Club"
HARBOR = "Harbor Street Bakery"

OpenPage = Callable[..., "Page"]


def sign_in(page: Page, demo: Demo, person: str = "Mateo Fuentes", where: str = NORTHWIND) -> None:
    page.goto(f"{demo.url}/sign-in")
    page.get_by_role("button", name=f"{person} in {where}").click()
    page.get_by_role("heading", name=where).wait_for()


def write_post(page: Page, content: str) -> None:
    """Publish a post on the page that is open."""
    page.get_by_label("Your post").fill(content)
    page.get_by_role("button", name="Post", exact=True).click()
    page.locator(".post", has_text=content).wait_for()
