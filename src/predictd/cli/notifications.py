"""`predictd notifications`: what an account is told by e-mail and webhook, and whether it arrives."""

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from predictd.cli.options import AsJson, read_settings
from predictd.cli.output import echo, print_json, print_rows, say
from predictd.cli.remote import ProfileName, Server, opened_client
from predictd.client.notifications import Notifications, NotificationSettings, SentNotification, Webhook
from predictd.domain.errors import InvalidInputError, PlatformError, SetupError
from predictd.domain.notices import CHOICES, Event, check_address, chosen_events

TEST_SECONDS = 30.0

app = typer.Typer(
    help="What you are told by e-mail and webhook.\n\nExample: predictd notifications webhook https://me.org/hook",
    no_args_is_help=True,
)

Events = Annotated[
    list[str] | None,
    typer.Option("--event", help=f"One of {', '.join(CHOICES)}; repeat for several; default all."),
]
WebhookName = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id, the beginning of it, or its address.")]


@app.command()
def show(server: Server = None, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Show the e-mail address, what it is written to about, and the webhooks.

    Example: predictd notifications show
    """
    with opened_client(server, profile) as client:
        _show(Notifications(client).settings(), as_json=as_json)


@app.command()
def email(
    address: Annotated[str | None, typer.Argument(help="Your address; a link is sent to it to confirm it.")] = None,
    none: Annotated[bool, typer.Option("--none", help="No address, no e-mail.")] = False,
    event: Events = None,
    no_events: Annotated[bool, typer.Option("--no-events", help="Keep the address, but send no e-mail.")] = False,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Set your e-mail address, or what you are written to about, or both.

    Example: predictd notifications email me@mail.org --event run_failed --event diagnostics_ready
    """
    if not (address or none or event or no_events):
        raise InvalidInputError("Name an address, or --none, or what you want e-mails about with --event.")
    with opened_client(server, profile) as client:
        notifications = Notifications(client)
        settings = notifications.settings()
        if address or none:
            settings = notifications.set_email(address)
        if event or no_events:
            settings = notifications.set_email_events(_events(event) if event else [])
    _show(settings, as_json=as_json)


@app.command()
def webhook(
    url: Annotated[str, typer.Argument(help="An http or https URL that takes POST.")],
    event: Events = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Add a webhook, whose secret is shown this once. The calls are signed as Standard Webhooks has it.

    Example: predictd notifications webhook https://me.org/hook --event run_failed
    """
    with opened_client(server, profile) as client:
        made = Notifications(client).add_webhook(url, _events(event))
    if as_json:
        print_json(_webhook_row(made) | {"secret": made.secret})
        return
    say("The webhook is made. Keep its secret, it is not shown again:")
    echo(f"id      {made.id}\nsecret  {made.secret}\nevents  {', '.join(made.events)}")


@app.command("delete-webhook")
def delete_webhook(webhook: WebhookName, server: Server = None, profile: ProfileName = None) -> None:
    """Take a webhook away; nothing is sent to it any more.

    Example: predictd notifications delete-webhook https://me.org/hook
    """
    with opened_client(server, profile) as client:
        notifications = Notifications(client)
        found = notifications.webhook(webhook)
        notifications.delete_webhook(found)
    say(f"The webhook {found.url} is deleted.")


@app.command()
def sent(
    limit: Annotated[int, typer.Option(help="How many.")] = 20,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """List what was sent of late and what came of it, newest first.

    Example: predictd notifications sent --json
    """
    with opened_client(server, profile) as client:
        rows = [_sent_row(one) for one in Notifications(client).sent(limit)]
    print_rows(rows, as_json=as_json, empty="Nothing was sent yet.")


@app.command("test")
def try_it(
    webhook: Annotated[
        str | None, typer.Argument(metavar="WEBHOOK", help="A webhook; your e-mail address, if none.")
    ] = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Send a test to your e-mail address or to a webhook, and wait for what comes of it.

    The exit code is 1 when it was not delivered at the first try.

    Example: predictd notifications test https://me.org/hook
    """
    with opened_client(server, profile) as client:
        notifications = Notifications(client)
        notifications.test(notifications.webhook(webhook) if webhook else None)
        found = _wait_for_test(notifications)
    if as_json:
        print_json(_sent_row(found))
    elif found.status == "delivered":
        say(f"Delivered to {found.target}: {found.answer or ''}")
    else:
        say(f"Not delivered to {found.target}: {found.answer or 'no answer yet'}")
    raise typer.Exit(found.status != "delivered")


@app.command("test-mail")
def test_mail(address: Annotated[str, typer.Argument(help="Where to.")]) -> None:
    """Send a test e-mail with the settings PREDICTD_SMTP_URL and PREDICTD_MAIL_FROM, without a server.

    Example: predictd notifications test-mail me@mail.org
    """
    from predictd.notifications.email_content import trial, write  # noqa: PLC0415 (the server's part may not be installed)
    from predictd.server.telling import mail_server_of  # noqa: PLC0415

    settings = read_settings()
    server = mail_server_of(settings)
    if server is None:
        raise SetupError("No mail server is set: set PREDICTD_SMTP_URL and PREDICTD_MAIL_FROM.")
    to, now = check_address(address), datetime.now(UTC)
    letter = trial("of the organiser", f"{settings.public_url}/account/notifications")
    written = write(letter, sender=server.sender, to=to, message_id=f"{now.timestamp()}@{server.domain}", now=now)
    say(f"{server.send(written, to)}; it is on its way to {to}.")


def _wait_for_test(notifications: Notifications) -> SentNotification:
    """The test once it was tried."""
    deadline = time.monotonic() + TEST_SECONDS
    while time.monotonic() < deadline:
        found = next((one for one in notifications.sent(10) if one.title == "Test"), None)
        if found is not None and (found.status != "pending" or found.answer):
            return found
        time.sleep(0.3)
    raise PlatformError(f"The test was not tried within {TEST_SECONDS:g} s; see predictd notifications sent.")


def _events(names: list[str] | None) -> list[Event]:
    return chosen_events([part for one in names for part in one.replace(",", " ").split()]) if names else list(CHOICES)


def _show(settings: NotificationSettings, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "email": settings.email,
                "email_confirmed": settings.is_confirmed,
                "sends_email": settings.sends_email,
                "email_events": list(settings.email_events),
                "webhooks": [_webhook_row(one) for one in settings.webhooks],
            }
        )
        return
    state = "confirmed" if settings.is_confirmed else "to be confirmed: follow the link that was sent to it"
    say(f"E-mail  {settings.email or 'none'}{f' ({state})' if settings.email else ''}")
    say(f"Events  {', '.join(settings.email_events) or 'none'}")
    if not settings.sends_email:
        say("This server sends no e-mail: its organiser has set no mail server.")
    print_rows(
        [_webhook_row(one) for one in settings.webhooks],
        as_json=False,
        empty="There are no webhooks; make one with: predictd notifications webhook URL",
    )


def _webhook_row(webhook: Webhook) -> dict[str, object]:
    return {"id": webhook.id, "url": webhook.url, "events": list(webhook.events), "failures": webhook.failures}


def _sent_row(one: SentNotification) -> dict[str, object]:
    return {
        "at": one.inserted_at,
        "what": one.title,
        "channel": one.channel,
        "to": one.target,
        "status": one.status,
        "attempts": one.attempts,
        "answer": one.answer or "",
        "next_attempt": one.next_attempt_at,
    }
