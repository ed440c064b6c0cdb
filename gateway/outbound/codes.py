"""`error_code` of the platform's answers, and `status_code` of its rows. Our choice, where the vendor is silent: all of
it stands here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

OK = 0
MALFORMED = 100
CREDENTIALS = 101
CODE = 102
RECIPIENTS = 103
OPTED_OUT = 104
MESSAGE = 105
TEMPLATE = 106
STATUS_URL = 107
CUSTOM_TICKET = 108
UNKNOWN_TICKET = 109
LATER = 199

SENTENCES: Mapping[int, str] = MappingProxyType(
    {
        OK: "",
        MALFORMED: "The call could not be read.",
        CREDENTIALS: "username, password or api_key is not the configured one.",
        CODE: "The code is no number or short code of this gateway.",
        RECIPIENTS: "There is no recipient, or one of them is no phone number.",
        OPTED_OUT: "The recipient has opted out of messages from this number.",
        MESSAGE: "The message is empty, or too long.",
        TEMPLATE: "There is no such template, or one of its placeholders has no value.",
        STATUS_URL: "The status_url cannot be called: this address is not allowed.",
        CUSTOM_TICKET: "The custom_ticket is longer than 200 bytes.",
        UNKNOWN_TICKET: "There is no message with this ticket.",
        LATER: "It cannot be kept now. Please send it again.",
    }
)

STATUS_OPTED_OUT = 110
"""Of a recipient in a row: opted out. Legacy applications read 110 to 116 as failed."""
STATUS_UNKNOWN = 102
"""Nobody can tell yet whether it was sent."""
