"""People are told what became of their models, by e-mail and by signed webhooks, whatever is down in between."""

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import requests

from browsing import Visitor
from conftest import GraphQLErrors, Server, User
from predictd.notifications.http_post import PrivateAddressError, post
from receiving import Hook, Mailbox, hook, link_in, mailbox, text_of, wait_until

__all__ = ["hook", "mailbox"]

NO_PICKLE = b"no pickle at all"
ADD = """mutation($url: String!, $events: [NotificationEvent!]!) {
    addWebhookEndpoint(url: $url, events: $events) { id secret } }"""
ALL = ["round_open", "run_failed", "run_succeeded", "diagnostics_ready"]
DELIVERIES = "{ notificationDeliveries { event channel status attempts answer } }"


def settings(mailbox: Mailbox) -> dict[str, object]:
    return {
        "smtp_url": mailbox.url,
        "mail_from": "predictd <noreply@predictd.test>",
        "email_batch_seconds": 0.5,
        "notification_retry_seconds": 0.2,
        "allow_private_webhooks": True,
    }


@pytest.fixture(scope="module")
def telling(make_server: Callable[..., AbstractContextManager[Server]], mailbox: Mailbox) -> Iterator[Server]:
    """A server that sends e-mail."""
    with make_server(**settings(mailbox)) as running:
        yield running


def confirmed(server: Server, mailbox: Mailbox, name: str) -> tuple[User, str]:
    """A user whose address is confirmed, and the address."""
    user, address = server.user(name), f"{name}@mail.test"
    user.ask("mutation($e: String) { setNotificationEmail(email: $e) { email } }", e=address)
    link = link_in(mailbox.one(address, "Confirm your e-mail address"), "account/confirm")
    visitor = Visitor(server.address)
    path = link.removeprefix(server.address)
    assert f"is confirmed. Notifications for {name}" in visitor.send(path, path).text
    return user, address


def add_hook(user: User, hook: Hook, events: list[str] = ALL) -> str:
    made = user.ask(ADD, url=hook.url, events=events)["addWebhookEndpoint"]
    hook.secret = made["secret"]
    return str(made["id"])


def test_what_becomes_of_models_is_told_once_by_mail_and_by_signed_webhooks(
    telling: Server, mailbox: Mailbox, hook: Hook, pickles: dict[str, bytes]
) -> None:
    user, address = confirmed(telling, mailbox, "alice")
    add_hook(user, hook)
    number = telling.open_round()
    good, bad = user.add_model("good_one"), user.add_model("bad_one")
    user.wait(user.upload(pickles["good"], good))
    failed = user.wait(user.upload(pickles["returns_nan"], bad))["triggers"][0]["id"]
    expected = ["diagnostics.ready", "round.open", "run.failed", "run.succeeded"]
    wait_until(lambda: sorted(hook.types) == expected, 60)
    assert hook.forged == 0
    [data] = hook.of_type("run.failed")
    told = (f"Round {number} is open until", "good_one: diagnostics are ready", "good_one is validated")
    for one in told:
        mailbox.one(address, one)
    assert data["run"] | {"reason": ""} == {
        "id": failed,
        "type": "validation",
        "status": "model_failed",
        "code": "nan_predictions",
        "reason": "",
        "remedy": "Fill missing values before or after predicting, for example with 0.5.",
        "url": f"{telling.address}/runs/{failed}",
    }
    assert [model["name"] for model in data["models"]] == ["bad_one"]
    assert hook.of_type("round.open")[0]["round"]["number"] == number
    assert hook.of_type("diagnostics.ready")[0]["diagnostics"]["figures"]["validationCorrMean"] is not None

    mail = mailbox.one(address, "bad_one failed its validation")
    plain, html = text_of(mail), text_of(mail, "html")
    for shown in (data["run"]["remedy"], "predictions are NaN", data["run"]["url"]):
        assert shown in plain
        assert shown in html
    assert "failed" in mail["Subject"]
    assert (mail["From"], mail["Auto-Submitted"]) == ("predictd <noreply@predictd.test>", "auto-generated")
    assert mailbox.envelopes[-1] == ("noreply@predictd.test", address)
    sent = user.ask(DELIVERIES)["notificationDeliveries"]
    assert {one["status"] for one in sent} == {"delivered"}
    assert Counter(one["channel"] for one in sent) == {"webhook": 4, "email": 5}


def test_one_click_in_the_mail_program_ends_mails_of_that_kind_and_no_others(telling: Server, mailbox: Mailbox) -> None:
    user, address = confirmed(telling, mailbox, "bob")
    user.upload(NO_PICKLE)
    mail = mailbox.one(address, "failed its validation")
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = str(mail["List-Unsubscribe"]).strip("<>")
    asked = "{ notificationSettings { emailEvents } account { emailPreferences { pickleRoundStatus diagnostics } } }"
    # Looking at the page, as programs do that follow every link, ends nothing.
    assert "Stop sending email to the account" in requests.get(link, timeout=10).text
    assert user.ask(asked)["notificationSettings"]["emailEvents"] == ALL
    assert requests.post(f"{link}x", data={"List-Unsubscribe": "One-Click"}, timeout=10).status_code == 400
    assert requests.post(link, data={"List-Unsubscribe": "One-Click"}, timeout=10).status_code == 200
    answer = user.ask(asked)
    assert answer["notificationSettings"]["emailEvents"] == ["round_open", "run_succeeded", "diagnostics_ready"]
    assert answer["account"]["emailPreferences"] == {"pickleRoundStatus": True, "diagnostics": True}
    user.upload(NO_PICKLE)
    user.ask("mutation { testNotification }")
    mailbox.one(address, "E-mail works")
    time.sleep(1.5)
    mailbox.one(address, "failed its validation")
    # The contract's way to the same.
    user.ask("mutation { updateEmailPreferences(diagnostics: false, pickleRoundStatus: false) }")
    assert user.ask(asked)["notificationSettings"]["emailEvents"] == ["round_open"]


def test_nothing_is_sent_to_an_address_that_is_not_confirmed(telling: Server, mailbox: Mailbox) -> None:
    user = telling.user("carol")
    user.ask('mutation { setNotificationEmail(email: "carol@mail.test") { email } }')
    first = link_in(mailbox.one("carol@mail.test", "Confirm your"), "account/confirm")
    user.upload(NO_PICKLE)
    user.ask('mutation { setNotificationEmail(email: "new@mail.test") { email } }')
    mailbox.one("new@mail.test", "Confirm your")
    # The link to the address of before says nothing of the new one.
    assert requests.get(first, timeout=10).status_code == 400
    time.sleep(1.5)
    assert [len(mailbox.to(one)) for one in ("carol@mail.test", "new@mail.test")] == [1, 1]
    with pytest.raises(GraphQLErrors, match="is not a valid email address"):
        user.ask("mutation($e: String) { setNotificationEmail(email: $e) { email } }", e="a@b.c\r\nBcc: d@e.f")


def test_what_nobody_takes_is_tried_again_and_arrives_once_after_a_kill_too(
    new_server: Callable[..., Server], hook: Hook
) -> None:
    mailbox = Mailbox().start()
    server = new_server(**settings(mailbox))
    user, address = confirmed(server, mailbox, "dora")
    add_hook(user, hook, ["run_failed"])
    hook.stop()
    mailbox.stop()
    began = time.monotonic()
    user.wait(user.upload(NO_PICKLE, user.add_model("no_model")))
    assert time.monotonic() - began < 5
    wait_until(lambda: [int(str(one["attempts"])) > 1 for one in deliveries(user, "run_failed")] == [True, True], 30)
    assert {one["status"] for one in deliveries(user, "run_failed")} == {"pending"}
    server.stop(signal.SIGKILL)
    hook.start()
    mailbox.start()
    server.start()
    mailbox.one(address, "no_model failed its validation")
    wait_until(lambda: hook.calls, 30)

    # Killed while a call is on its way: it is made again, and its id tells that it is the same.
    user = User(server.address, user.username, user.public_id, user.secret_key)
    hook.calls.clear()
    hook.arrived = 0
    hook.holds.set()
    user.upload(NO_PICKLE)
    wait_until(lambda: hook.arrived)
    server.stop(signal.SIGKILL)
    hook.holds.clear()
    server.start()
    wait_until(lambda: len(hook.calls) == 2)
    assert len({message_id for message_id, _ in hook.calls}) == 1
    assert hook.forged == 0
    user = User(server.address, user.username, user.public_id, user.secret_key)
    wait_until(lambda: {one["status"] for one in deliveries(user, "run_failed")} == {"delivered"})
    mailbox.stop()


def deliveries(user: User, event: str) -> list[dict[str, object]]:
    return [one for one in user.ask(DELIVERIES)["notificationDeliveries"] if one["event"] == event]


def test_a_receiver_that_refuses_is_told_of_and_one_that_is_gone_is_left_alone(telling: Server, hook: Hook) -> None:
    user = telling.user("erin")
    endpoint = add_hook(user, hook, ["run_failed"])
    test = "mutation($id: ID) { testNotification(webhookId: $id) }"
    hook.answers = 302
    user.ask(test, id=endpoint)
    wait_until(lambda: deliveries(user, "test")[0]["attempts"] == 2)
    assert deliveries(user, "test")[0]["answer"] == "HTTP 302"
    hook.answers = 410
    wait_until(lambda: deliveries(user, "test")[0]["status"] == "failed")
    assert deliveries(user, "test")[0]["answer"] == "HTTP 410"
    stranger = telling.user("eve")
    for query in (test, "mutation($id: ID!) { deleteWebhookEndpoint(id: $id) }"):
        with pytest.raises(GraphQLErrors, match="There is no webhook"):
            stranger.ask(query, id=endpoint)


def test_webhooks_lead_into_a_private_network_only_where_the_organiser_says_so(
    server: Server, user: User, hook: Hook
) -> None:
    endpoint = add_hook(user, hook)
    user.ask("mutation($id: ID) { testNotification(webhookId: $id) }", id=endpoint)
    wait_until(lambda: deliveries(user, "test")[0]["status"] == "failed")
    assert "not on the public internet" in str(deliveries(user, "test")[0]["answer"])
    assert hook.arrived == 0
    with pytest.raises(GraphQLErrors, match="Your email address is not confirmed"):
        user.ask("mutation { testNotification }")


# Of a private network, of a machine itself, of a site, of groups; and those of IPv6 with one of these within.
NOT_PUBLIC = [
    "127.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "168.63.129.16",
    "192.88.99.1",
    "224.0.0.1",
    "239.1.1.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:168.63.129.16]",
    "[::127.0.0.1]",
    "[::8.8.8.8]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:808:808::1]",
    "[2001::1]",
    "[fec0::1]",
    "[fc00::1]",
    "[fe80::1]",
    "[ff02::1]",
    "[ff0e::1]",
    "[5f00::1]",
    "[100::1]",
    "[2001:db8::1]",
    "[3fff::1]",
]


@pytest.mark.parametrize("host", NOT_PUBLIC)
def test_a_webhook_calls_no_address_that_is_not_of_the_public_internet(host: str) -> None:
    with pytest.raises(PrivateAddressError, match="is not on the public internet"):
        post(f"http://{host}:9/", b"", {}, allow_private=False)


def test_the_commands_set_everything_and_say_what_arrived(telling: Server, mailbox: Mailbox, hook: Hook) -> None:
    user, address = confirmed(telling, mailbox, "fred")
    telling.environment |= {"PREDICTD_SERVER": telling.address, "PREDICTD_TOKEN": user.token}

    def notifications(*arguments: str, check: bool = True) -> str:
        return telling.predictd("notifications", *arguments, check=check).stdout

    made = json.loads(notifications("webhook", hook.url, "--event", "run_failed,round_open", "--json"))
    hook.secret = made["secret"]
    assert json.loads(notifications("test", hook.url, "--json"))["status"] == "delivered"
    assert (hook.types, hook.forged) == (["test"], 0)
    shown = json.loads(notifications("email", "--event", "run_failed", "--json"))
    assert (shown["email"], shown["email_confirmed"], shown["email_events"]) == (address, True, ["run_failed"])
    assert shown["webhooks"][0]["events"] == ["round_open", "run_failed"]
    hook.stop()
    assert json.loads(notifications("test", made["id"], "--json", check=False))["status"] == "pending"
    notifications("delete-webhook", made["id"][:8])
    assert json.loads(notifications("show", "--json"))["webhooks"] == []
    assert [one["status"] for one in json.loads(notifications("sent", "--limit", "2", "--json"))] == [
        "failed",
        "delivered",
    ]
    notifications("test-mail", "organiser@mail.test")
    mailbox.one("organiser@mail.test", "E-mail works")
    mailbox.refused.add("nobody@mail.test")
    refused = telling.predictd("notifications", "test-mail", "nobody@mail.test", check=False)
    assert (refused.returncode, "550 nobody of that name" in refused.stderr) == (1, True)
