"""The command `gateway` with all its commands; `python -m gateway` is the same."""

from __future__ import annotations

from gateway.commands import main
from gateway.message_commands import replay, translate
from gateway.opt_out_commands import main as opt_outs
from gateway.point_commands import point
from gateway.sending_commands import send, sends
from gateway.serve import page, serve, web, worker
from gateway.trial_commands import test_callback, test_status

for command in (serve, web, worker, page, translate, test_callback, test_status, replay, send, sends, opt_outs, point):
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="gateway")
