"""One gateway with its applications around it, for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.applications import Consumer, CoreApi, Page
from tests.running import Gateway, running_gateway

CONFIG = """
[endpoint.page]
url = "{page}/callback.php?site=1"
timeout = 1

[endpoint.page_status]
url = "{page}/status.php"
timeout = 1

[endpoint.sms]
url = "{consumer}/sms"
format = "carrierx"
shape = "sms"
timeout = 1

[endpoint.mms]
url = "{consumer}/mms"
format = "carrierx"
shape = "mms"
timeout = 1

# Texts from CarrierX go to the old page, as JSON to the new application, and so do updates.
[[number]]
number = "15162065919"
shortcode = "12345"
title = "Acme alerts & more"
group = "Friends + family"
default_keyword = "ACME1234"
callback = ["page"]
status = ["page_status"]

  [[number.keyword]]
  word = "JOIN"
  callback = ["page"]

# What the keyword platform says goes to the new application.
[[number]]
number = "15162065920"
shortcode = "54321"
callback = ["sms", "mms"]
status = ["sms", "mms"]
"""


@dataclass(frozen=True, slots=True)
class World:
    gateway: Gateway
    page: Page
    consumer: Consumer
    core_api: CoreApi


@contextmanager
def made(folder: Path, *, with_applications: bool = True) -> Iterator[World]:
    """A gateway that runs; the applications run too, or are not yet there."""
    with ExitStack() as stack:
        core_api = stack.enter_context(CoreApi().running())
        page, consumer = Page(folder, "page"), Consumer(folder, "consumer", core_api)
        for application in (page, consumer):
            stack.callback(application.kill)
            if with_applications:
                application.start()
        config = CONFIG.format(page=page.url, consumer=consumer.url)
        gateway = stack.enter_context(running_gateway(folder / "gateway", config))
        yield World(gateway, page, consumer, core_api)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with made(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture
def quiet_world(tmp_path: Path) -> Iterator[World]:
    """For one test alone: nobody is at home at the ends."""
    with made(tmp_path, with_applications=False) as world:
        yield world
