"""What tells the accounts of a deployment what happened."""

from predictd.notifications.deliveries import Pace
from predictd.notifications.dispatcher import Courier
from predictd.notifications.smtp import MailServer, parse_mail_server
from predictd.server.deployment import Deployment, server_id
from predictd.settings import Settings


def mail_server_of(settings: Settings) -> MailServer | None:
    """The mail server of the settings, None where there is none; SetupError where they can't be taken."""
    return parse_mail_server(settings.smtp_url, settings.mail_from)


def courier_of(deployment: Deployment, address: str) -> Courier:
    """The courier of the server at that address."""
    settings = deployment.settings
    return Courier(
        deployment.database,
        owner=server_id(settings.home),
        address=address,
        mail=mail_server_of(settings),
        to_private=settings.webhooks_to_private,
        pace=Pace(
            gather_seconds=settings.mail_gather_seconds,
            mails_per_hour=settings.mails_per_hour,
            retry_seconds=settings.notify_retry_seconds,
            give_up_seconds=settings.notify_hours * 3600,
        ),
    )
