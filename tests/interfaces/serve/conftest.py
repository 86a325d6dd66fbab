"""A browser for the tests of the web page.

Pictures of it go to the folder that AIRJAX_ARTEFACTS names, or to pytest's own.
"""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

# Milliseconds until a page counts as hung: how long its programs take to compile is the machine's affair.
PATIENCE = 300_000
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        assert not os.environ.get("CI"), "Chromium is missing"
        pytest.skip(f"none of {', '.join(names)} is installed")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def shoot(tmp_path):
    folder = Path(os.environ.get("AIRJAX_ARTEFACTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return lambda page, name: page.screenshot(path=folder / f"{name}.png", full_page=True)


@pytest.fixture
def visit(browser):
    """Open a page until something is `shown`; nothing may be reported by the browser, nor taken from elsewhere."""
    contexts, complaints = [], []

    def open_page(address, shown="#count", **look):
        context = browser.new_context(**look)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith(address) or complaints.append(asked.url))
        page.goto(address)
        expect(page.locator(shown)).not_to_be_empty()
        page.evaluate("document.fonts.ready")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
