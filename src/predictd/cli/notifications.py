"""`predictd notifications`: notifications by e-mail and webhook, and their delivery."""

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from predictd.cli.options import AsJson, read_settings
from predictd.cli.output import echo, print_json, print_rows, say
from predictd.cli.remote import ProfileName, Server, opened_client
from predictd.client.notifications import Delivery, Notifications, NotificationSettings, Webhook
from predictd.domain.errors import InvalidInputError, PlatformError, SetupError
from predictd.domain.notification_types import CHOICES, Event, check_address, chosen_events

TEST_SECONDS = 30.0

app = typer.Typer(
    help="Notifications by e-mail and webhook.\n\nExample: predictd notifications webhook https://me.org/hook",
    no_args_is_help=True,
)

Events = Annotated[
    list[str] | None,
    typer.Option("--event", help=f"One of {', '.join(CHOICES)}; repeat for several.", show_default="all"),
]
WEBHOOK_HELP = "Id of a webhook, the start of its id, or its URL."


@app.command()
def show(server: Server = None, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Show your e-mail address, its events, and your webhooks.

    Example: predictd notifications show
    """
    with opened_client(server, profile) as client:
        _show(Notifications(client).settings(), as_json=as_json)


@app.command()
def email(
    address: Annotated[str | None, typer.Argument(help="Your address; confirm it with the link sent to it.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Remove the address.")] = False,
    event: Events = None,
    no_events: Annotated[bool, typer.Option("--no-events", help="Send no e-mail, but retain the address.")] = False,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Set your e-mail address, the events that you get e-mails about, or both.

    Example: predictd notifications email me@mail.org --event run_failed --event diagnostics_ready
    """
    if not (address or none or event or no_events):
        raise InvalidInputError("Nothing to change. Give an address, --none, --event or --no-events.")
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
    url: Annotated[str, typer.Argument(help="An http or https URL that accepts POST.", show_default=False)],
    event: Events = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Create a webhook. Its secret is shown only once; calls are signed according to Standard Webhooks.

    Example: predictd notifications webhook https://me.org/hook --event run_failed
    """
    with opened_client(server, profile) as client:
        created = Notifications(client).create_webhook(url, _events(event))
    if as_json:
        print_json(_webhook_row(created) | {"secret": created.secret})
        return
    say("Created the webhook. Save its secret; it is not shown again:")
    echo(f"id      {created.id}\nsecret  {created.secret}\nevents  {', '.join(created.events)}")


@app.command("delete-webhook")
def delete_webhook(
    webhook: Annotated[str, typer.Argument(metavar="WEBHOOK", help=WEBHOOK_HELP, show_default=False)],
    server: Server = None,
    profile: ProfileName = None,
) -> None:
    """Delete a webhook.

    Example: predictd notifications delete-webhook https://me.org/hook
    """
    with opened_client(server, profile) as client:
        notifications = Notifications(client)
        stored = notifications.webhook(webhook)
        notifications.delete_webhook(stored)
    say(f"Deleted webhook {stored.url}.")


@app.command()
def sent(
    limit: Annotated[int, typer.Option(help="Maximum number of deliveries.")] = 20,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """List recent deliveries and their results, newest first.

    Example: predictd notifications sent --json
    """
    with opened_client(server, profile) as client:
        rows = [_delivery_row(delivery) for delivery in Notifications(client).deliveries(limit)]
    print_rows(rows, as_json=as_json, empty="There are no deliveries.")


@app.command("test")
def send_test(
    webhook: Annotated[
        str | None, typer.Argument(metavar="WEBHOOK", help=WEBHOOK_HELP, show_default="your e-mail address")
    ] = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Send a test notification to your e-mail address or to a webhook, and wait for the result.

    The exit code is 1 if the first attempt fails.

    Example: predictd notifications test https://me.org/hook
    """
    with opened_client(server, profile) as client:
        notifications = Notifications(client)
        notifications.test(notifications.webhook(webhook) if webhook else None)
        delivery = _wait_for_test(notifications)
    if as_json:
        print_json(_delivery_row(delivery))
    elif delivery.status == "delivered":
        say(f"Delivered to {delivery.target}: {delivery.answer or ''}")
    else:
        say(f"Not delivered to {delivery.target}: {delivery.answer or 'no response yet'}")
    raise typer.Exit(delivery.status != "delivered")


@app.command("test-mail")
def test_mail(address: Annotated[str, typer.Argument(help="Recipient.", show_default=False)]) -> None:
    """Send a test e-mail with PREDICTD_SMTP_URL and PREDICTD_MAIL_FROM; no server has to run.

    Example: predictd notifications test-mail me@mail.org
    """
    from predictd.notifications.email_content import build_test_email, render_email  # noqa: PLC0415 (needs the extra server)
    from predictd.notifications.smtp import parse_mail_server  # noqa: PLC0415

    settings = read_settings()
    server = parse_mail_server(settings.smtp_url, settings.mail_from)
    if server is None:
        raise SetupError("No mail server is configured. Set PREDICTD_SMTP_URL and PREDICTD_MAIL_FROM.")
    recipient, now = check_address(address), datetime.now(UTC)
    content = build_test_email("of the admin", f"{settings.public_url}/account/notifications")
    message = render_email(
        content, sender=server.sender, to=recipient, message_id=f"{now.timestamp()}@{server.domain}", now=now
    )
    say(f"Sent to {recipient}: {server.send(message, recipient)}")


def _wait_for_test(notifications: Notifications) -> Delivery:
    """Return the delivery of the test after its first attempt."""
    deadline = time.monotonic() + TEST_SECONDS
    while time.monotonic() < deadline:
        tests = (delivery for delivery in notifications.deliveries(10) if delivery.title == "Test")
        newest = next(tests, None)
        if newest is not None and (newest.status != "pending" or newest.answer):
            return newest
        time.sleep(0.3)
    raise PlatformError(
        f"The test was not sent within {TEST_SECONDS:g} s. Check it later with: predictd notifications sent"
    )


def _events(names: list[str] | None) -> list[Event]:
    """Return the events of the option, which may be separated by commas; all by default."""
    return (
        chosen_events([part for name in names for part in name.replace(",", " ").split()]) if names else list(CHOICES)
    )


def _show(settings: NotificationSettings, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "email": settings.email,
                "email_confirmed": settings.is_confirmed,
                "sends_email": settings.sends_email,
                "email_events": list(settings.email_events),
                "webhooks": [_webhook_row(webhook) for webhook in settings.webhooks],
            }
        )
        return
    state = "confirmed" if settings.is_confirmed else "not confirmed: open the link that was sent to it"
    say(f"E-mail  {settings.email or 'none'}{f' ({state})' if settings.email else ''}")
    say(f"Events  {', '.join(settings.email_events) or 'none'}")
    if not settings.sends_email:
        say("This server sends no e-mail: its admin has not configured a mail server.")
    print_rows(
        [_webhook_row(webhook) for webhook in settings.webhooks],
        as_json=False,
        empty="There are no webhooks; create one with: predictd notifications webhook URL",
    )


def _webhook_row(webhook: Webhook) -> dict[str, object]:
    return {"id": webhook.id, "url": webhook.url, "events": list(webhook.events), "failures": webhook.failures}


def _delivery_row(delivery: Delivery) -> dict[str, object]:
    return {
        "at": delivery.inserted_at,
        "what": delivery.title,
        "channel": delivery.channel,
        "to": delivery.target,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "answer": delivery.answer or "",
        "next_attempt": delivery.next_attempt_at,
    }
