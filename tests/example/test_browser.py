"""The example app as a person uses it, in a headless Chromium."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.example.browsing import HARBOR, LAPTOP, NORTHWIND, PHONE, OpenPage, sign_in, write_post
from tests.example.demo import Demo

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_person_posts_likes_and_comments(open_page: OpenPage, demo: Demo) -> None:
    page = open_page()
    sign_in(page, demo)
    content = f"First snow on the ridge {uuid4().hex}"
    write_post(page, content)
    assert page.locator(".post").first.inner_text().count(content) == 1
    assert page.get_by_label("Your post").input_value() == ""

    like = page.locator(".post").first.get_by_role("button", name="Like")
    like.click()
    page.locator('.post:first-child [aria-pressed="true"]').wait_for()
    assert like.inner_text() == "1"
    like.click()
    page.locator('.post:first-child [aria-pressed="false"]').wait_for()
    assert like.inner_text() == "0"

    page.locator(".post").first.get_by_label("0 comments").click()
    page.get_by_label("Your comment").fill("Already?")
    page.get_by_role("button", name="Comment", exact=True).click()
    comment = page.locator(".comment", has_text="Already?")
    comment.wait_for()
    comment.get_by_text("Reply", exact=True).first.click()
    comment.get_by_label("Your reply").fill("Since this morning.")
    comment.get_by_role("button", name="Reply").click()
    page.locator(".comment .comment", has_text="Since this morning.").wait_for()
    page.get_by_label("2 comments").wait_for()

    page.reload()
    page.locator(".comment .comment", has_text="Since this morning.").wait_for()


def test_scrolling_brings_older_posts(open_page: OpenPage, demo: Demo) -> None:
    page = open_page()
    sign_in(page, demo)
    posts = page.locator(".post")
    assert posts.count() == 15
    for wanted in (30, 45):
        page.mouse.wheel(0, 20_000)
        page.locator(f".post >> nth={wanted - 1}").wait_for()
    ids = posts.evaluate_all("posts => posts.map(post => post.id)")
    assert len(set(ids)) == len(ids)


def test_switching_shows_that_neither_organization_sees_the_other(
    open_page: OpenPage, demo: Demo
) -> None:
    page = open_page()
    sign_in(page, demo)
    for_climbers = f"Rope check tonight {uuid4().hex}"
    write_post(page, for_climbers)
    page.get_by_role("button", name=HARBOR, exact=True).click()
    page.get_by_role("heading", name=HARBOR).wait_for()
    assert page.locator(".text", has_text=for_climbers).count() == 0
    for_bakers = f"Rye is in the oven {uuid4().hex}"
    write_post(page, for_bakers)
    page.get_by_role("button", name="Menu of Mateo Fuentes").click()
    page.get_by_role("button", name=f"Switch to {NORTHWIND}").click()
    page.get_by_role("heading", name=NORTHWIND).wait_for()
    assert page.locator(".text", has_text=for_climbers).count() == 1
    assert page.locator(".text", has_text=for_bakers).count() == 0


def test_a_person_edits_their_profile(open_page: OpenPage, demo: Demo) -> None:
    page = open_page()
    sign_in(page, demo, "Emma Lindholm")
    page.get_by_role("button", name="Menu of").click()
    page.get_by_role("link", name="Your profile").click()
    page.get_by_text("Edit your profile").click()
    bio = f"Three kids by now {uuid4().hex}"
    page.get_by_label("About you").fill(bio)
    page.get_by_role("button", name="Save").click()
    page.locator(".profile > div", has_text=bio).wait_for()


@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_scrolls_sideways(
    open_page: OpenPage, demo: Demo, size: tuple[int, int], scheme: str
) -> None:
    page = open_page(size, scheme)
    sign_in(page, demo)
    write_post(page, f"A very long word: {uuid4().hex * 12}")
    post = page.locator(".post .when").first.get_attribute("href")
    for path in ("/", str(post), "/people", "/people/mateo.fuentes", "/docs", "/sign-in"):
        page.goto(demo.url + path)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0], path


def test_the_keyboard_is_enough(open_page: OpenPage, demo: Demo) -> None:
    page = open_page()
    sign_in(page, demo)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.get_by_label("Your post").focus()
    content = f"Typed only {uuid4().hex}"
    page.keyboard.type(content)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".post", has_text=content).wait_for()
