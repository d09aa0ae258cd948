"""The page of notifications in a browser, with scripts and without."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest

from browsing import PASSWORD, Visitor, make_account
from conftest import Server
from receiving import Hook, Mailbox, hook, link_in, mailbox, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["hook", "mailbox"]
PAGE = "/account/notifications"


@pytest.fixture(scope="module")
def site(make_server: Callable[..., AbstractContextManager[Server]], mailbox: Mailbox) -> Iterator[Server]:
    """A server that sends e-mail, with accounts of alice and bob."""
    settings = {"smtp_url": mailbox.url, "mail_from": "noreply@predictd.test", "email_batch_seconds": 0.3}
    with make_server(**settings, allow_private_webhooks=True) as running:
        make_account(running, "alice")
        make_account(running, "bob")
        yield running


def test_an_address_is_confirmed_a_webhook_made_and_both_are_tried(
    page: "Page", site: Server, mailbox: Mailbox, hook: Hook, audit: "Callable[[Page], None]"
) -> None:
    page.goto(f"{site.address}/signin")
    page.get_by_label("Account name or email address").fill("alice")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/models")
    page.goto(f"{site.address}/account")
    page.get_by_role("link", name="Notifications").click()
    page.get_by_text("No email address is set").wait_for()
    audit(page)
    page.get_by_label("Email address").fill("alice@mail.test")
    page.get_by_role("button", name="Save").first.click()
    page.get_by_text("alice@mail.test is not confirmed yet").wait_for()
    audit(page)
    page.goto(link_in(mailbox.one("alice@mail.test", "Confirm your"), "account/confirm"))
    audit(page)
    page.get_by_role("button", name="Confirm your email address").click()
    page.get_by_text("is confirmed. Notifications for alice").wait_for()

    page.goto(f"{site.address}{PAGE}")
    page.get_by_role("button", name="Send test email").click()
    page.get_by_text("Test notification queued").wait_for()
    mailbox.one("alice@mail.test", "E-mail works")
    page.get_by_label("Webhook URL").fill(hook.url)
    page.locator("#new-webhook").get_by_label("A round has opened").uncheck()
    page.get_by_role("button", name="Create webhook").click()
    hook.secret = page.locator("#webhook-secret").inner_text()
    audit(page)
    page.get_by_role("button", name="Send test event to").click()
    wait_until(lambda: hook.types == ["test"])
    assert hook.forged == 0
    page.goto(f"{site.address}{PAGE}")
    assert hook.secret not in page.content()
    assert page.locator("table.list tbody tr").count() == 3
    page.get_by_role("row", name=hook.url).get_by_text("HTTP 200").wait_for()
    assert not page.get_by_label("A round has opened").nth(1).is_checked()
    page.set_viewport_size({"width": 360, "height": 740})
    audit(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=f"Delete {hook.url}").click()
    page.get_by_text("Webhook deleted.").wait_for()


def test_it_works_without_scripts_and_a_link_of_a_mail_without_signing_in(
    browser: "Browser", site: Server, mailbox: Mailbox
) -> None:
    visitor = Visitor(site.address)
    visitor.sign_in("bob")
    assert "is not a valid email address" in visitor.send(f"{PAGE}/address", PAGE, address="bob at home").text
    assert "enter an absolute http or https URL" in visitor.send(f"{PAGE}/webhooks", PAGE, url="ftp://bob").text
    assert visitor.client.post(f"{site.address}{PAGE}/email", data={}, timeout=10).status_code == 403
    visitor.send(f"{PAGE}/address", PAGE, address="bob@mail.test")
    path = link_in(mailbox.one("bob@mail.test", "Confirm your"), "account/confirm").removeprefix(site.address)
    visitor.send(path, path)
    shown = visitor.send(f"{PAGE}/email", PAGE, **{"event-run_failed": "yes", "event-round_open": "yes"}).text
    assert "Notification settings saved." in shown
    site.open_round()
    link = link_in(mailbox.one("bob@mail.test", "is open until"), "unsubscribe").removeprefix(site.address)
    stranger = Visitor(site.address)
    answer = stranger.client.post(
        f"{site.address}{link}", data={"csrf": stranger.csrf(link)}, headers={"Accept": "text/html"}, timeout=10
    )
    assert "bob no longer receives email about" in answer.text
    kept = visitor.get(PAGE).text
    assert 'name="event-run_failed" value="yes" checked' in kept
    assert 'name="event-round_open" value="yes" checked' not in kept.partition("New webhook")[0]
