"""An application that sends by the platform's web service: zeep, everything by what the WSDL says.

python send_zeep.py WSDL TEXT CUSTOM_TICKET STATUS_URL PHONE…
"""

import sys

import zeep

wsdl, text, custom_ticket, status_url, *phones = sys.argv[1:]
auth = {
    "username": "acme-user",
    "password": "password & <more>",
    "api_key": "key-é",
    "code": "12345",
    "keyword": "JOIN",
}
recipients = {"recipients": [{"sendTo": phone, "type": 1} for phone in phones]}
service = zeep.Client(wsdl).service


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


sent = service.sendMessage(auth, text, recipients, custom_ticket, status_url)
for name in ("result", "error_code", "message", "custom_ticket", "ticket"):
    value = "" if sent[name] is None else sent[name]
    say(f"{name}={str(value).lower() if isinstance(value, bool) else value}")
for row in service.getTransactionStatus(auth, sent.ticket, "").recipients:
    say("row=" + " ".join((row.sendTo, str(row.status_code), row.status_message, str(row.result).lower())))

refused = service.sendMessage(auth=auth, message=" ", recipientList=recipients, custom_ticket="", status_url="")
say(f"refused={str(refused.result).lower()} {refused.error_code}")
try:
    # More of them than anybody looks at.
    service.sendMessage(auth, text, {"recipients": [{"sendTo": "1"}] * 12_000}, "", "")
except zeep.exceptions.Fault as fault:
    say(f"fault={fault.code}")
