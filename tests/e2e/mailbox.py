"""A mailbox behind a real SMTP server on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.servers.ports import free_port


class Mailbox:
    """What an SMTP server took: the mails with their envelopes' recipients. `refuses`: it takes none."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.refuses = False

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.refuses:
            return "451 try again later"
        assert envelope.content is not None
        content = envelope.content if isinstance(envelope.content, bytes) else envelope.content.encode()
        parsed = message_from_bytes(content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        self.mails.append((envelope.rcpt_tos, parsed))
        return "250 OK"

    def texts(self) -> list[str]:
        bodies = [mail.get_body(("plain",)) for _, mail in self.mails]
        return [body.get_content().replace("\r\n", "\n").rstrip("\n") for body in bodies if body is not None]


@contextmanager
def smtp_server(mailbox: Mailbox) -> Iterator[str]:
    """An SMTP server on loopback, as HOST:PORT."""
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield f"127.0.0.1:{controller.port}"
    finally:
        controller.stop()
