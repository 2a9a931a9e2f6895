"""The demo page as a visitor sees it: open it, wait for a state, read a figure.

Not responsible for serving it, which a test or `taciturn demo` does.
"""

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE_SECONDS = 25


def visit(browser, page, wishes=""):
    """Open the page afresh: a change of the fragment alone would not load it again."""
    browser.get("about:blank")
    browser.get(f"{page}#{wishes}")


def wait_for(browser, state):
    """Wait until the page says that its call is in `state`."""
    WebDriverWait(browser, PATIENCE_SECONDS, 0.1).until(
        lambda _: browser.execute_script("return document.body.dataset.callState") == state,
        f"not {state}: {browser.find_element(By.TAG_NAME, 'main').text}",
    )


def wait_for_frames(browser, count):
    """Wait until the page has counted `count` decoded frames."""
    WebDriverWait(browser, PATIENCE_SECONDS, 0.1).until(
        lambda _: int(browser.execute_script("return document.body.dataset.framesDecoded ?? 0")) >= count
    )


def text(browser, identifier) -> str:
    """The text that a visitor reads in an element."""
    return browser.find_element(By.ID, identifier).text
