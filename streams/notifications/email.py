"""Mail by SMTP: TLS or STARTTLS with verified certificates, authentication, text and HTML.

The Message-ID is the notification's id, so a repeat is one that mail programs know to be the same;
all of a group are one conversation (``References``).
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from streams.events.alerting import NotificationRequested
from streams.notifications import message_text
from streams.notifications.receivers import Mailbox, Receiver, read_mailbox
from streams.notifications.sending import AGAIN_HEADER, NotSent, Outcome, Sent

ANSWERS_MAX = 6
"""Of one sending, the server's answers that may each take the time-out."""


class EmailSender:
    """A connection a notification, in threads of this receiver's own."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._mailbox = read_mailbox(receiver.url)
        self._threads = ThreadPoolExecutor(receiver.parallel, f"mail-{receiver.name}")

    async def send(self, notification: NotificationRequested, *, again: bool) -> Outcome:
        message = mail(notification, self._mailbox, again=again)
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._send, message)
        try:
            return await asyncio.wait_for(work, ANSWERS_MAX * self._receiver.timeout_s)
        except TimeoutError:
            return NotSent("the mail server did not finish in time")

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _send(self, message: EmailMessage) -> Outcome:
        try:
            with open_mailbox(self._mailbox, self._receiver.timeout_s) as server:
                refused = server.send_message(message, self._mailbox.sender, self._mailbox.to)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            return NotSent(_refusals(error.recipients), final=all(code >= 500 for code in codes))
        except smtplib.SMTPAuthenticationError as error:
            return NotSent(f"the server refused the login: {_answer(error)}")
        except smtplib.SMTPResponseException as error:
            final = isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= 500
            return NotSent(f"the server answered {_answer(error)}", final=final)
        except (smtplib.SMTPException, OSError) as error:
            return NotSent(f"{type(error).__name__}: {error}")
        return Sent(_refusals(refused) if refused else "the server took it")


def open_mailbox(box: Mailbox, timeout_s: float) -> smtplib.SMTP:
    """A connection that mail can be sent on, encrypted and logged in as the mailbox says.

    Raises `smtplib.SMTPException` and `OSError`, `ssl.SSLError` among them.
    """
    if box.tls == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            box.host, box.port, timeout=timeout_s, context=_context(box)
        )
    else:
        server = smtplib.SMTP(box.host, box.port, timeout=timeout_s)
    try:
        if box.tls == "starttls":
            server.starttls(context=_context(box))
        if box.user:
            server.login(box.user, box.password)
    except BaseException:
        server.close()
        raise
    return server


def mail(notification: NotificationRequested, box: Mailbox, *, again: bool) -> EmailMessage:
    """The message, with nothing in its headers that could be another header."""
    domain = box.sender.rpartition("@")[2]
    group = repr((notification.receiver, sorted(notification.group.items())))
    conversation = f"<group-{zlib.crc32(group.encode()):08x}@{domain}>"
    message = EmailMessage()
    message["Message-ID"] = f"<{notification.id}@{domain}>"
    message["References"] = conversation
    message["In-Reply-To"] = conversation
    message["Date"] = format_datetime(datetime.fromtimestamp(notification.at_ms / 1000, UTC))
    message["Subject"] = message_text.title(notification)
    message["From"] = box.sender
    message["To"] = ", ".join(box.to)
    message["Auto-Submitted"] = "auto-generated"
    if again:
        message[AGAIN_HEADER] = "1"
    message.set_content(message_text.text(notification, again=again))
    message.add_alternative(message_text.html_text(notification, again=again), subtype="html")
    return message


def _context(box: Mailbox) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=box.ca or None)


def _answer(error: smtplib.SMTPResponseException) -> str:
    said = error.smtp_error
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return f"{error.smtp_code} {text}"


def _refusals(refused: dict[str, tuple[int, bytes]]) -> str:
    return "; ".join(
        f"{address} was refused: {code} {said.decode('utf-8', 'replace')}"
        for address, (code, said) in sorted(refused.items())
    )
