"""The pages in a real browser, at laptop and phone width, light and dark: use, keyboard, labels, contrast, no overflow."""

import os
import re
import shutil
from pathlib import Path

import pytest

from serving_tiny import NAME
from tenfold.apps.ui import runs as shown

playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")

EXPECTED = "the server responded with a status of 400"
"""What the browser itself says of the refusal that a test provokes."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZES = {"laptop": (1280, 800), "phone": (390, 844)}
TIMEOUT_MS = 60_000
FLAWS = (Path(__file__).parent / "flaws.js").read_text()


@pytest.fixture(scope="module")
def browser():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser here; install one of {', '.join(BROWSERS)} to test the web page")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture(params=SIZES)
def size(request):
    return request.param


@pytest.fixture(params=["light", "dark"])
def scheme(request):
    return request.param


@pytest.fixture
def tab(browser, size, scheme):
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert [text for text in complaints if EXPECTED not in text] == []


def look(tab, name, size, scheme):
    """Keeps a picture where TENFOLD_SCREENSHOTS says, and checks what can be checked of every page."""
    if folder := os.environ.get("TENFOLD_SCREENSHOTS"):
        tab.screenshot(path=f"{folder}/{name}-{size}-{scheme}.png")
    assert tab.evaluate(FLAWS) == []


def ask(tab, question):
    """Asks, and waits until the answer has been compared."""
    answers = tab.locator(".answer").count()
    tab.get_by_label("Your message").fill(question)
    tab.keyboard.press("Enter")
    tab.locator(".answer").nth(answers).get_by_text("the same, letter by letter").wait_for()
    tab.get_by_role("button", name="Send").wait_for()


def test_chat_answers_marks_guesses_and_compares(tab, site, size, scheme):
    tab.goto(site.url)
    look(tab, "chat-empty", size, scheme)
    ask(tab, "A B C A B C A B")
    speeds = tab.locator(".speeds").inner_text()
    assert re.search(r"With guesses\s+[\d.]+ tokens/s", speeds) and re.search(r"Speed-up\s+[\d.]+×", speeds)
    expected = site.chat_text("A B C A B C A B", 160)
    assert tab.locator(".answer .said").text_content() == expected
    assert tab.locator(".guessed").count() > 1
    assert tab.locator("#status").inner_text() == "The answer is complete."
    ask(tab, "is it true?")
    assert tab.locator("#turns > li").count() == 4
    tab.get_by_text("Settings", exact=True).click()
    look(tab, "chat", size, scheme)
    tab.get_by_role("button", name="New conversation").click()
    assert tab.locator("#turns > li").count() == 0


def test_a_refusal_is_shown_and_the_chat_goes_on(tab, site, size, scheme):
    tab.goto(site.url)
    tab.get_by_label("Your message").fill("the answer " * 400)
    tab.keyboard.press("Enter")
    tab.locator(".failure").get_by_text("This did not work: the prompt has").wait_for()
    look(tab, "chat-refused", size, scheme)
    ask(tab, "A")


@pytest.fixture(scope="module")
def one_tab(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    yield page
    context.close()


def test_everything_works_with_the_keyboard_alone(one_tab, site):
    one_tab.goto(site.url)
    one_tab.keyboard.press("Tab")
    assert one_tab.evaluate("document.activeElement.textContent") == "Skip to the content"
    one_tab.keyboard.press("Enter")
    names = []
    for _ in range(9):
        one_tab.keyboard.press("Tab")
        names.append(one_tab.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert names[3:7] == ["question", "send", "fresh", "Settings"]
    one_tab.locator("#question").focus()
    one_tab.keyboard.type("A B A B")
    one_tab.keyboard.press("Enter")
    one_tab.get_by_text("the same, letter by letter").wait_for()
    assert one_tab.evaluate("document.activeElement.id") == "question"


def test_text_of_the_model_is_never_markup(one_tab, site):
    one_tab.goto(site.url)
    ask(one_tab, "<img src=x onerror=alert(1)>")
    assert one_tab.locator("#turns img").count() == 0


def test_runs_are_listed_shown_and_compared(tab, site, size, scheme, runs_root):
    tab.goto(f"{site.url}/runs")
    look(tab, "runs", size, scheme)
    boxes = tab.get_by_role("checkbox")
    boxes.nth(1).check()
    boxes.nth(2).check()
    tab.get_by_role("button", name="Compare").click()
    assert tab.get_by_role("heading", name="2 runs compared").is_visible()
    look(tab, "compare", size, scheme)
    run = next(run for run in shown.every(runs_root) if run.browsers)
    tab.goto(f"{site.url}/runs/{run.id}", wait_until="domcontentloaded")
    report = tab.frame_locator("iframe.report")
    report.get_by_text("A shape has sides.").first.wait_for()
    look(tab, "run", size, scheme)
    tab.get_by_role("link", name="Browse view").click()
    assert tab.get_by_role("heading", name="A tree of shapes").is_visible()


def test_a_text_is_judged_under_rules(tab, site, size, scheme):
    tab.goto(f"{site.url}/guard")
    tab.get_by_label("Text to judge").fill("a green text")
    tab.get_by_role("button", name="Judge").click()
    tab.get_by_role("heading", name="Allowed: safe").wait_for()
    tab.get_by_label("Rules").fill("purple\ngreen")
    tab.get_by_role("button", name="Judge").click()
    tab.get_by_role("heading", name="Blocked: unsafe").wait_for()
    assert "93.0 %" in tab.locator("#verdict").inner_text()
    tab.get_by_label("Say why").check()
    tab.get_by_role("button", name="Judge").click()
    tab.get_by_text("It cites the rule: green").wait_for()
    assert tab.locator("#verdict b").count() == 0
    look(tab, "guard", size, scheme)


def test_a_question_that_the_guard_refuses_is_not_answered(one_tab, site):
    one_tab.goto(site.url)
    one_tab.get_by_label("Your message").fill("something wicked")
    one_tab.keyboard.press("Enter")
    one_tab.locator(".failure").get_by_text("the question was stopped by the guard").wait_for()


def test_a_page_that_is_not_there_says_so(one_tab, site):
    one_tab.goto(f"{site.url}/runs/shapes-draw/nothing")
    assert one_tab.get_by_role("heading", name="Not here").is_visible()
    assert NAME in one_tab.locator(".model").inner_text()
