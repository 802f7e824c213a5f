"""What happens by itself on the example app's pages, in two browsers at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.example.browsing import LAPTOP, NORTHWIND, PHONE, OpenPage, sign_in, write_post
from tests.example.demo import Demo

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FIRST, SECOND = "Rafael Monteiro", "Emma Lindholm"


def two_people(open_page: OpenPage, demo: Demo) -> tuple[Page, Page]:
    """Sign two people in, each in a browser of their own."""
    first, second = open_page(), open_page(PHONE)
    sign_in(first, demo, FIRST)
    sign_in(second, demo, SECOND)
    return first, second


def open_talk(page: Page, demo: Demo, username: str) -> None:
    page.goto(f"{demo.url}/people/{username}")
    page.get_by_role("button", name="Write a message").click()
    page.get_by_label("Your message", exact=True).wait_for()


def say(page: Page, content: str) -> None:
    page.get_by_label("Your message", exact=True).fill(content)
    page.get_by_role("button", name="Send").click()
    page.locator(".message.mine", has_text=content).wait_for()


def unread(page: Page) -> int:
    text = page.locator("#unread").evaluate("badge => badge.firstChild.textContent")
    return int(text)


def wait_for_unread(page: Page, number: int) -> None:
    page.wait_for_function(
        "n => document.querySelector('#unread').firstChild.textContent == n", arg=str(number)
    )


def test_a_message_arrives_while_one_looks_at_something_else(
    open_page: OpenPage, demo: Demo
) -> None:
    first, second = two_people(open_page, demo)
    before = unread(second)
    open_talk(first, demo, "emma.lindholm")
    content = f"Are you at the wall? {uuid4().hex}"
    say(first, content)
    wait_for_unread(second, before + 1)
    second.goto(f"{demo.url}/conversations")
    row = second.locator(".conversation-row", has_text=content)
    row.click()
    second.locator(".message", has_text=content).wait_for()
    wait_for_unread(second, before)

    # Now both look at the conversation.
    answer = f"On my way {uuid4().hex}"
    say(second, answer)
    first.locator(".message", has_text=answer).wait_for()
    assert first.locator(".message", has_text=answer).count() == 1
    assert second.locator(".message", has_text=answer).count() == 1
    wait_for_unread(second, before)


def test_many_messages_from_both_sides_are_each_shown_once(open_page: OpenPage, demo: Demo) -> None:
    first, second = two_people(open_page, demo)
    open_talk(first, demo, "emma.lindholm")
    open_talk(second, demo, "rafael.monteiro")
    word = uuid4().hex
    for number in range(6):
        for page, name in ((first, "A"), (second, "B")):
            page.get_by_label("Your message", exact=True).fill(f"{word} {name}{number}")
            page.keyboard.press("Enter")
            page.wait_for_function("() => document.querySelector('#message-text').value === ''")
    for page in (first, second):
        page.wait_for_function(
            "word => [...document.querySelectorAll('.message')]"
            ".filter(m => m.textContent.includes(word)).length >= 12",
            arg=word,
        )
        page.wait_for_timeout(500)
        said = page.locator(".bubble .text", has_text=word).all_inner_texts()
        assert len(said) == len(set(said)) == 12
        assert page.evaluate("document.activeElement.id") == "message-text"


def test_a_change_and_a_deletion_are_seen_at_once(open_page: OpenPage, demo: Demo) -> None:
    first, second = two_people(open_page, demo)
    open_talk(first, demo, "emma.lindholm")
    open_talk(second, demo, "rafael.monteiro")
    wrong, right = f"Thrusday {uuid4().hex}", f"Thursday {uuid4().hex}"
    say(first, wrong)
    second.locator(".message", has_text=wrong).wait_for()
    message = first.locator(".message", has_text=wrong)
    message.get_by_label("What to do with this message").click()
    message.locator("textarea").fill(right)
    message.get_by_role("button", name="Save").click()
    second.locator(".message", has_text=right).wait_for()
    message = first.locator(".message", has_text=right)
    message.get_by_label("What to do with this message").click()
    message.get_by_role("button", name="Delete").click()
    second.locator(".message:last-child", has_text="This message was deleted.").wait_for()
    assert second.get_by_text(right).count() == 0


def test_what_is_sent_twice_by_an_impatient_person_is_said_once(
    open_page: OpenPage, demo: Demo
) -> None:
    page = open_page()
    sign_in(page, demo, FIRST)
    open_talk(page, demo, "emma.lindholm")
    content = f"Once is enough {uuid4().hex}"
    page.get_by_label("Your message", exact=True).fill(content)
    page.evaluate(
        """() => {
            const form = document.querySelector('#message-form');
            form.requestSubmit(); form.requestSubmit(); form.requestSubmit();
        }"""
    )
    page.locator(".message", has_text=content).wait_for()
    page.wait_for_timeout(700)
    assert page.locator(".message", has_text=content).count() == 1
    page.reload()
    assert page.locator(".message", has_text=content).count() == 1


def test_the_feed_says_that_there_are_new_posts(open_page: OpenPage, demo: Demo) -> None:
    first, second = two_people(open_page, demo)
    content = f"Fresh from the crag {uuid4().hex}"
    write_post(first, content)
    second.get_by_role("link", name="New posts").click()
    second.locator(".post", has_text=content).wait_for()
    assert first.get_by_role("link", name="New posts").count() == 0


def test_the_other_organization_hears_nothing(open_page: OpenPage, demo: Demo) -> None:
    first, second = two_people(open_page, demo)
    second.goto(f"{demo.url}/")
    second.get_by_role("button", name="Harbor Street Bakery", exact=True).click()
    second.get_by_role("heading", name="Harbor Street Bakery").wait_for()
    before = unread(second)
    open_talk(first, demo, "emma.lindholm")
    say(first, f"Only here {uuid4().hex}")
    write_post_elsewhere = f"Only here {uuid4().hex}"
    first.goto(demo.url)
    write_post(first, write_post_elsewhere)
    second.wait_for_timeout(800)
    assert unread(second) == before
    assert second.get_by_role("link", name="New posts").count() == 0


def test_a_group_is_joined_without_leaving_the_page(open_page: OpenPage, demo: Demo) -> None:
    page = open_page(refused=409)
    sign_in(page, demo, FIRST)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Groups").click()
    page.get_by_text("Found a group").click()
    name = f"Slab friends {uuid4().hex[:6]}"
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Found it").click()
    page.get_by_role("heading", name=name).wait_for()
    address = page.url
    write_post(page, "Feet first")

    other = open_page()
    sign_in(other, demo, "Noor Haddad")
    other.goto(address)
    other.evaluate("window.isTheSamePage = true")
    other.get_by_role("button", name="Join").click()
    other.locator(".post", has_text="Feet first").wait_for()
    assert other.evaluate("window.isTheSamePage")
    # The last owner cannot leave: a notice says so, and the page stays.
    page.get_by_role("button", name="Leave").click()
    page.locator("#notice", has_text="must keep an owner").wait_for()


@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_no_new_page_scrolls_sideways(
    open_page: OpenPage, demo: Demo, size: tuple[int, int]
) -> None:
    page = open_page(size)
    page.goto(f"{demo.url}/sign-in")
    page.get_by_role("button", name="Ingrid Solheim").click()
    page.get_by_role("heading", name=NORTHWIND).wait_for()
    page.goto(f"{demo.url}/conversations")
    talk = page.locator(".conversation-row").first.get_attribute("href")
    for path in (
        "/groups",
        "/groups/tuesday-beginners",
        "/groups/tuesday-beginners/members",
        "/conversations",
        str(talk),
        "/search?q=rope",
        "/moderation",
        "/activity?everybody=true",
    ):
        page.goto(demo.url + path)
        for summary in page.locator("main details > summary").all()[:3]:
            if summary.is_visible():
                summary.click()
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0], path
