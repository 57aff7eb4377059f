"""E-mails without a mail server: the operator finds them in the log.

Django's console backend would break a log of JSON objects.
"""

import logging
from collections.abc import Sequence

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

logger = logging.getLogger(__name__)


class EmailBackend(BaseEmailBackend):
    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        for message in email_messages:
            logger.warning(
                "no EMAIL_URL is set, so this e-mail was not sent to %s: %s\n%s",
                *(", ".join(message.to), message.subject, message.body),
            )
        return len(email_messages)
