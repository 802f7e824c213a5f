"""The example app over HTTP: organizations apart, and no form of another site."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from examples.community.identity import COOKIE
from examples.community.people import Person, all_people
from orgtenancy.community import community
from tests.example.demo import Demo

BOTH = next(person for person in all_people().values() if len(person.organizations) == 2)
NORTHWIND_ONLY = next(p for p in all_people().values() if p.organizations == ("northwind",))


@pytest.fixture
def browser(demo: Demo) -> Iterator[httpx.Client]:
    """A browser that nobody has signed in with."""
    with httpx.Client(base_url=demo.url, headers={"Origin": demo.url}, timeout=20) as client:
        yield client


def sign_in(browser: httpx.Client, person: Person, organization: str) -> httpx.Response:
    form = {"person": person.id, "organization": organization}
    return browser.post("/sign-in", data=form)


def new_post(browser: httpx.Client, content: str) -> str:
    response = browser.post("/api/posts", json={"content": content})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def test_a_visitor_is_sent_to_the_sign_in_page(browser: httpx.Client) -> None:
    response = browser.get("/")
    assert (response.status_code, response.headers["location"]) == (303, "/sign-in")
    assert "Who would you like to be?" in browser.get("/sign-in").text


def test_the_token_is_out_of_reach_of_scripts_and_other_sites(browser: httpx.Client) -> None:
    cookie = sign_in(browser, BOTH, "northwind").headers["set-cookie"]
    assert cookie.startswith(COOKIE)
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


def test_the_page_says_which_organization_it_is(browser: httpx.Client) -> None:
    sign_in(browser, BOTH, "harbor")
    page = browser.get("/").text
    assert "<title>Harbor Street Bakery</title>" in page
    assert "Who" not in page.partition("<title>")[0]
    assert 'data-accent="crust"' in page


def test_a_post_of_one_organization_is_not_there_in_the_other(browser: httpx.Client) -> None:
    sign_in(browser, BOTH, "northwind")
    post = new_post(browser, "Seen by climbers only")
    assert "Seen by climbers only" in browser.get("/").text
    response = browser.post("/switch", data={"organization": "harbor"})
    assert (response.status_code, response.headers["location"]) == (303, "/")
    assert "Seen by climbers only" not in browser.get("/").text
    for path in (f"/posts/{post}", f"/api/posts/{post}", f"/api/posts/{post}/comments"):
        assert browser.get(path).status_code == 404
    form = {"liked": "true", "content": "Hello"}
    for path in (f"/posts/{post}/like", f"/posts/{post}/comments"):
        assert browser.post(path, data=form).status_code == 404


def test_nobody_enters_an_organization_they_do_not_belong_to(browser: httpx.Client) -> None:
    assert sign_in(browser, NORTHWIND_ONLY, "harbor").status_code == 403
    sign_in(browser, NORTHWIND_ONLY, "northwind")
    assert browser.post("/switch", data={"organization": "harbor"}).status_code == 403
    assert browser.get("/api/me").json()["organization_id"] == "northwind"


def test_a_header_cannot_name_another_organization_than_the_token(browser: httpx.Client) -> None:
    sign_in(browser, BOTH, "northwind")
    response = browser.get("/api/feed", headers={"X-Organization": "harbor"})
    assert (response.status_code, response.json()["code"]) == (403, "access_denied")


@pytest.mark.parametrize("cookie", ["x", "a.b.c", "", "eyJhbGciOiJub25lIn0.e30."])
def test_a_bad_cookie_ends_at_the_sign_in_page(browser: httpx.Client, cookie: str) -> None:
    headers = {"Cookie": f"{COOKIE}={cookie}"}
    response = browser.get("/", headers=headers)
    assert (response.status_code, response.headers["location"]) == (303, "/sign-in")
    assert f"{COOKIE}=" in response.headers["set-cookie"]
    assert browser.get("/api/feed", headers=headers).status_code == 401


def test_a_token_that_was_changed_is_refused(browser: httpx.Client) -> None:
    sign_in(browser, BOTH, "northwind")
    head, body, signature = browser.cookies[COOKIE].split(".")
    forged = f"{head}.{body[:-4]}AAAA.{signature}"
    with httpx.Client(base_url=browser.base_url) as other:
        response = other.get("/api/feed", headers={"Authorization": f"Bearer {forged}"})
    assert response.status_code == 401


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", ""])
def test_a_form_of_another_site_is_refused(browser: httpx.Client, origin: str) -> None:
    sign_in(browser, BOTH, "northwind")
    form = {"content": "Sent from elsewhere"}
    response = browser.post("/posts", data=form, headers={"Origin": origin})
    assert response.status_code == 403
    assert "Sent from elsewhere" not in browser.get("/").text


def test_a_form_without_an_origin_is_refused_where_it_brings_the_cookie(
    browser: httpx.Client,
) -> None:
    sign_in(browser, BOTH, "northwind")
    del browser.headers["Origin"]
    assert browser.post("/posts", data={"content": "No origin"}).status_code == 403


def test_a_program_needs_a_token_and_no_origin(demo: Demo) -> None:
    with httpx.Client(base_url=demo.url, timeout=20) as program:
        wanted = {"username": BOTH.username, "organization": "harbor"}
        token = program.post("/api/token", json=wanted).json()["access_token"]
        program.headers["Authorization"] = f"Bearer {token}"
        new_post(program, "Written by a program")
        assert program.get("/api/me").json()["organization_id"] == "harbor"


def test_the_whole_feed_is_there_page_by_page_newest_first(browser: httpx.Client) -> None:
    sign_in(browser, BOTH, "northwind")
    posts: list[dict[str, str]] = []
    cursor: str | None = ""
    while cursor is not None:
        params = {"limit": 100} | ({"cursor": cursor} if cursor else {})
        page = browser.get("/api/feed", params=params).json()
        posts += page["items"]
        cursor = page["next_cursor"]
    assert len({post["id"] for post in posts}) == len(posts) >= 320
    times = [post["created_at"] for post in posts]
    assert times == sorted(times, reverse=True)


def test_errors_are_friendly_pages_and_problems_for_programs(browser: httpx.Client) -> None:
    sign_in(browser, BOTH, "northwind")
    page = browser.get("/nothing")
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "Nothing here" in page.text
    for path, status in (
        ("/?cursor=x", 422),
        ("/?limit=x", 422),
        ("/?cursor=" + "x" * 3000, 422),
        ("/people/nobody", 404),
        ("/posts/1", 422),
    ):
        assert browser.get(path).status_code == status, path
    problem = browser.get("/api/feed?cursor=x")
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["code"] == "invalid_cursor"


def test_htmx_gets_a_notice_in_place_of_a_page(browser: httpx.Client) -> None:
    browser.headers["HX-Request"] = "true"
    assert browser.get("/").headers["hx-redirect"] == "/sign-in"
    sign_in(browser, BOTH, "northwind")
    response = browser.post("/posts", data={"content": "  "})
    assert response.status_code == 422
    assert response.text.strip() == '<p class="notice">Content must not be empty.</p>'


def test_what_people_write_is_shown_as_text(browser: httpx.Client) -> None:
    sign_in(browser, BOTH, "northwind")
    new_post(browser, "<script>alert(1)</script>")
    page = browser.get("/").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert browser.post("/posts", data={"content": "nul\0"}).status_code == 422


def test_everything_works_without_a_script(browser: httpx.Client) -> None:
    sign_in(browser, BOTH, "northwind")
    post = new_post(browser, "For browsers without scripts")
    liked = browser.post(f"/posts/{post}/like", data={"liked": "true"})
    assert (liked.status_code, liked.headers["location"]) == (303, f"/posts/{post}")
    browser.post(f"/posts/{post}/comments", data={"content": "A comment\r\nof two lines"})
    seen = browser.get(f"/api/posts/{post}").json()
    assert (seen["likes_count"], seen["comments_count"], seen["liked"]) == (1, 1, True)
    assert "A comment\nof two lines" in browser.get(f"/posts/{post}").text


def test_people_edit_their_own_profile_in_this_organization_only(browser: httpx.Client) -> None:
    sign_in(browser, BOTH, "harbor")
    form = {"display_name": BOTH.name, "bio": "Rewritten for the bakery"}
    response = browser.post("/profile", data=form)
    assert response.headers["location"] == f"/people/{BOTH.username}"
    assert "Rewritten for the bakery" in browser.get(response.headers["location"]).text
    browser.post("/switch", data={"organization": "northwind"})
    assert "Rewritten for the bakery" not in browser.get(f"/people/{BOTH.username}").text


def test_the_docs_need_nothing_from_elsewhere(browser: httpx.Client) -> None:
    page = browser.get("/docs")
    assert page.status_code == 200
    assert "/api/posts/{post_id}/like" in page.text
    assert "https://" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    paths = browser.get("/openapi.json").json()["paths"]
    assert all(path.startswith("/api/") for path in paths)


def test_the_docs_show_every_endpoint_and_what_it_needs(browser: httpx.Client) -> None:
    page = browser.get("/docs").text
    for endpoint in community.endpoints:
        assert f"<code>/api{endpoint.path}</code>" in page, endpoint.name
        assert f'id="{endpoint.tag}"' in page
    guarded = sum(bool(endpoint.scopes) for endpoint in community.endpoints)
    assert page.count("a token with the scope <code>community:moderate</code>") == guarded > 0
    assert f"{len(community.endpoints) + 2} endpoints" in page
