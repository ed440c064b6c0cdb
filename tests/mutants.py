"""Changes a source file in small ways, one at a time, and lists the changes that no test notices.

`make mutants ARGS=FILE` calls it. mutmut makes and tries the changes, in a copy of the project in the temporary folder.
Only the tests that TESTS names for the file are run. docs/mutants.md says how many were killed, and which survivors
behave as the original does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEFT_OUT = {".git", ".venv", ".hypothesis", "data", "pyproject.toml"}

TESTS: dict[str, tuple[str, ...]] = {
    # test_hostile.py holds that nothing takes long, which takes long to hold.
    "schemas": ("tests/schemas", "--ignore=tests/schemas/test_hostile.py"),
    "schemas/carriers.py": ("tests/schemas/test_carriers.py",),
    "schemas/credentials.py": (
        "tests/schemas/test_credentials.py",
        "tests/schemas/test_vectors.py",
        "tests/schemas/test_faults.py",
    ),
    "schemas/fields.py": (
        "tests/schemas/test_fields.py",
        "tests/schemas/test_vectors.py",
        "tests/schemas/test_faults.py",
    ),
    "schemas/segments.py": ("tests/schemas/test_segments.py",),
    "schemas/status.py": ("tests/schemas/test_status.py", "tests/schemas/test_vectors.py"),
    "gateway/matching": ("tests/matching/test_keywords.py",),
    "gateway/matching/templates.py": ("tests/matching/test_templates.py",),
    "gateway/routing": ("tests/routing",),
    "gateway/safe_http": ("tests/safe_http", "-k", "not postgresql"),
    "gateway/safe_http/dns.py": ("tests/safe_http/test_client_addresses.py",),
    "gateway/safe_http/error_pages.py": ("tests/delivery/test_diagnosis.py",),
    "gateway/safe_http/errors.py": ("tests/safe_http/test_errors.py",),
    "gateway/safe_http/loop.py": ("tests/safe_http/test_loop.py",),
    "gateway/safe_http/models.py": ("tests/safe_http/test_client.py", "tests/safe_http/test_client_requests.py"),
    "gateway/safe_http/transfer.py": (
        "tests/safe_http/test_transfer.py",
        "tests/safe_http/test_client.py",
        "tests/safe_http/test_client_requests.py",
        "tests/safe_http/test_client_tls.py",
        "tests/safe_http/test_client_addresses.py",
        "tests/safe_http/test_loop.py",
        "tests/safe_http/test_shortage.py",
        "-k",
        "not postgresql",
    ),
    "gateway/safe_http/client.py": (
        "tests/safe_http/test_client.py",
        "tests/safe_http/test_client_requests.py",
        "tests/safe_http/test_client_addresses.py",
        "tests/safe_http/test_client_sleep.py",
        "tests/safe_http/test_loop.py",
    ),
    "gateway/safe_http/ssrf.py": (
        "tests/safe_http/test_ssrf.py",
        "tests/safe_http/test_client_addresses.py::test_a_kept_connection_is_not_lent_to_where_it_may_not_go",
        "tests/safe_http/test_client_addresses.py::test_closed_networks_close_kept_connections",
        "tests/safe_http/test_client_addresses.py::test_a_wildcard_is_every_address_of_this_machine",
        "tests/safe_http/test_client_addresses.py::test_a_wildcard_is_asked_afresh_for_every_address",
        "tests/safe_http/test_client_addresses.py::test_a_policy_forgets",
    ),
    "gateway/store": ("tests/store", "-k", "not postgresql"),
    "gateway/store/clock.py": ("tests/store/test_clock.py",),
    "gateway/store/errors.py": ("tests/store/test_writer.py", "tests/store/test_store.py"),
    "gateway/store/events.py": (
        "tests/store/test_store.py",
        "tests/inbound/test_status_update.py",
        "tests/outbound/test_replies.py",
        "-k",
        "not postgresql",
    ),
    "gateway/store/leases.py": ("tests/store/test_outbox.py", "tests/store/test_leases.py"),
    "gateway/store/ledger.py": (
        "tests/store/test_ledger.py",
        "tests/store/test_replay.py",
        "tests/sender/test_settle.py",
        "-k",
        "not postgresql",
    ),
    "gateway/store/message_status.py": ("tests/store/test_message_status.py", "-k", "not postgresql"),
    "gateway/store/outbox.py": ("tests/store/test_outbox.py",),
    "gateway/store/replay.py": ("tests/store/test_replay.py", "-k", "not postgresql"),
    "gateway/store/person.py": ("tests/store/test_person.py", "-k", "not postgresql"),
    "gateway/store/retention.py": (
        "tests/store/test_retention.py",
        "tests/store/test_blanking.py",
        "tests/store/test_person.py",
        *("-k", "not postgresql"),
    ),
    "gateway/store/statement.py": (
        "tests/store/test_statement.py",
        "tests/store/test_leases.py",
        "-k",
        "not postgresql",
    ),
    "gateway/delivery": (
        "tests/delivery/test_worker.py",
        "tests/delivery/test_worker_replies.py",
        "tests/delivery/test_worker_stops.py",
        "-k",
        "not postgresql",
    ),
    "gateway/delivery/batch.py": ("tests/delivery/test_batch.py", "-k", "not postgresql"),
    "gateway/delivery/circuit_breaker.py": (
        "tests/delivery/test_circuit_breaker.py",
        "tests/delivery/test_scheduler.py",
        "tests/delivery/test_scheduler_urls.py",
    ),
    "gateway/delivery/diagnosis.py": ("tests/delivery/test_diagnosis.py",),
    "gateway/delivery/maintenance.py": ("tests/delivery/test_maintenance.py", "-k", "not postgresql"),
    "gateway/delivery/redaction.py": ("tests/delivery/test_redaction.py",),
    "gateway/delivery/request.py": ("tests/delivery/test_request.py",),
    "gateway/delivery/result.py": ("tests/delivery/test_result.py",),
    "gateway/delivery/scheduler.py": (
        "tests/delivery/test_due.py",
        "tests/delivery/test_scheduler.py",
        "tests/delivery/test_scheduler_urls.py",
    ),
    "gateway/outbound": (
        "tests/outbound/test_accept.py",
        "tests/outbound/test_status_query.py",
        "-k",
        "not postgresql",
    ),
    "gateway/outbound/replies.py": ("tests/outbound/test_replies.py", "-k", "not postgresql"),
    "gateway/outbound/status_posts.py": (
        "tests/outbound/test_accept.py",
        "tests/outbound/test_status_posts.py",
        "tests/sender/test_settle.py",
        "tests/inbound/test_status_update.py",
        "-k",
        "not postgresql",
    ),
}
"""File or folder → what pytest is given for it. The longest name that fits counts."""

FRESH = ("gateway/store/statement.py", "schemas/credentials.py", "schemas/segments.py")
"""Files with functions that run at import: each change is tried in a new interpreter, which is slow."""

KILLED = {"killed", "timeout", "segfault", "suspicious", "check was interrupted by user"}
"""mutmut's words for a test that failed or never ended. The last one is for a module that cannot be imported."""

FATES = f"""
import json, sys
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
kept = SourceFileMutationData(path=sys.argv[1])
kept.load()
fates = {{name: status_by_exit_code[code] for name, code in kept.exit_code_by_key.items()}}
diffs = {{name: get_diff_for_mutant(name, path=sys.argv[1]) for name in fates if fates[name] not in {KILLED}}}
print(json.dumps({{name: (fates[name], diffs.get(name, "")) for name in fates}}))
"""
"""A program that says what became of each change, and how the survivors read: `mutmut show` takes a second for each."""

NO_TEST = "could not find any test case for any mutant"
"""mutmut stops with these words when no test calls a function of the file; no change is killed then."""


def tests_of(source: str) -> tuple[str, ...]:
    fitting = [name for name in TESTS if source == name or source.startswith(f"{name}/")]
    return TESTS[max(fitting, key=len)] if fitting else ("tests",)


def work_in(folder: Path, source: str) -> None:
    """Make the folder look like the project to mutmut, with this one file to be changed."""
    for path in ROOT.iterdir():
        if path.name not in LEFT_OUT and not path.name.endswith(("_cache", ".egg-info")):
            (folder / path.name).symlink_to(path)
    chosen = {"only_mutate": [source], "pytest_add_cli_args_test_selection": tests_of(source)}
    if source in FRESH:
        chosen |= {"process_isolation": "forkserver", "forkserver_warmup": "none"}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in chosen.items())
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    (folder / "pyproject.toml").write_text(project.replace("[tool.mutmut]\n", f"[tool.mutmut]\n{lines}"), "utf-8")


def run(folder: Path, *command: str | Path) -> str:
    """Returns what it prints, without the lines that it writes over one another."""
    environment = os.environ | {"HYPOTHESIS": "mutants", "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    printed = "\n".join(line.rpartition("\r")[2] for line in ended.stdout.decode().split("\n"))
    if ended.returncode and NO_TEST not in printed:
        raise SystemExit(f"{printed}\n{ended.stderr.decode()}\n{command}: {ended.returncode}")
    return printed


def tried(source: str, children: str) -> tuple[int, int]:
    """Print the survivors of one file. Returns how many changes were killed, of how many."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        folder, started = Path(temporary), time.monotonic()
        work_in(folder, source)
        run(folder, Path(sys.executable).with_name("mutmut"), "run", "--max-children", children)
        fates: dict[str, tuple[str, str]] = json.loads(run(folder, sys.executable, "-c", FATES, source))
    counts = Counter(fate for fate, _ in fates.values())
    killed = sum(count for fate, count in counts.items() if fate in KILLED)
    for name, (fate, diff) in fates.items():
        if fate not in KILLED:
            print(f"{name}: {fate}", *diff.splitlines()[2:], sep="\n")
    words = ", ".join(f"{count} {fate}" for fate, count in counts.most_common())
    print(f"{source}: {killed}/{len(fates)} killed ({words}) in {time.monotonic() - started:.0f} s", flush=True)
    return killed, len(fates)


def main(arguments: list[str]) -> None:
    children = os.environ.get("CHILDREN", "2")
    sources: list[str] = []
    for argument in arguments:
        path = (ROOT / argument).resolve()
        found = [path] if path.is_file() else sorted(path.rglob("*.py"))
        if not found:
            raise SystemExit(f"{argument}: no such file, and no folder with Python files.")
        sources += [one.relative_to(ROOT).as_posix() for one in found if one.read_text("utf-8").count("def ")]
    if not sources:
        raise SystemExit("Say which: make mutants ARGS=gateway/matching/keywords.py")
    results = [tried(source, children) for source in sources]
    killed, total = (sum(column) for column in zip(*results, strict=True))
    print(f"killed {killed} of {total}: {100 * killed / max(total, 1):.1f} %")


if __name__ == "__main__":
    main(sys.argv[1:])
