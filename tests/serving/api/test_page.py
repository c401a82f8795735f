"""The page in a real browser: Debian's chromium, driven by Playwright ."""

import re
import shutil
from collections.abc import Iterator

import pytest

from tests.serving.api.conftest import Serve, Site
from tests.serving.conftest import shifted

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]

from playwright.sync_api import Browser, Page, expect  # noqa: E402 - after it is known to be there

TEXT = "ant bee cat."
PATIENCE = 60_000  # milliseconds, on a machine with other work
SIZES = {"narrow": (360, 800), "wide": (1440, 900)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator["Visit"]:
    visit = Visit(browser, site.url)
    yield visit
    assert not visit.complaints
    for page in visit.pages:
        page.context.close()


class Visit:
    """Opens the page; `complaints`: what the browser's console said."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self.url = browser, url
        self.complaints: list[str] = []
        self.pages: list[Page] = []

    def __call__(self, path: str = "/", size: str = "wide", locale: str = "en-US", theme: str = "light") -> Page:
        width, height = SIZES[size]
        viewport = {"width": width, "height": height}
        context = self.browser.new_context(viewport=viewport, locale=locale, color_scheme=theme)  # pyright: ignore[reportArgumentType]
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.url + path)
        self.pages.append(page)
        return page


def write(page: Page, text: str) -> None:
    page.select_option("#from", "en")
    page.select_option("#to", "de")
    page.fill("#source", text)


def says(page: Page, text: str) -> None:
    expect(page.locator("#output")).to_have_text(text, timeout=PATIENCE)


def test_it_translates_while_one_types_and_the_last_text_wins(visit: "Visit") -> None:
    page = visit()
    write(page, "ant")
    page.locator("#source").press_sequentially(" bee cat.", delay=20)
    says(page, shifted(TEXT))
    expect(page.locator("#sureness")).to_have_text(re.compile(r"expected quality \d+ %"))


def test_a_correction_is_the_next_translation(visit: "Visit", site: Site) -> None:
    page = visit()
    write(page, TEXT)
    says(page, shifted(TEXT))
    page.click("#correct")
    page.fill("#correction", "Ameise Biene Katze.")
    page.click("text=Save")
    says(page, "Ameise Biene Katze.")
    expect(page.locator("#sureness")).to_have_text("From a correction")
    assert site.translate(q=TEXT, source="en", target="de").json()["translatedText"] == "Ameise Biene Katze."
    page.fill("#source", "ant bee cat eel.")
    expect(page.locator("#matches")).to_contain_text("Ameise Biene Katze.", timeout=PATIENCE)


def test_a_corrected_sentence_of_a_longer_text_is_marked(visit: "Visit", site: Site) -> None:
    site.post("/suggest", json={"q": TEXT, "s": "Ameise Biene.", "source": "en", "target": "de"})
    page = visit()
    write(page, f"owl pig\n{TEXT}")
    says(page, f"{shifted('owl pig')} Ameise Biene.")
    marked = page.locator(".corrected")
    expect(marked.first).to_have_text("Ameise")
    assert "".join(marked.all_inner_texts()) == "Ameise Biene."
    expect(page.locator("#sureness")).to_have_text(re.compile(r"Partly corrected · expected quality \d+ %"))


def test_errors_come_in_the_language_of_the_interface(serve: Serve, browser: Browser) -> None:
    visit = Visit(browser, serve(admin_key="open").url)
    page = visit("/review", locale="ja-JP")
    for words in ("正しいキー", "with the right key"):
        page.fill("#key", "wrong")
        page.click("#ask button")
        expect(page.locator("#message")).to_contain_text(words, timeout=PATIENCE)
        page.click("#interface")
    page.context.close()


def test_the_arrow_keys_show_where_words_come_from(visit: "Visit") -> None:
    page = visit()
    write(page, TEXT)
    says(page, shifted(TEXT))
    page.focus("#output")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".word.chosen")).to_have_text("bee")
    expect(page.locator("#echo mark").first).to_have_text("ant")


def test_alternatives_glossary_and_history_are_used_by_a_click(visit: "Visit") -> None:
    page = visit()
    write(page, TEXT)
    says(page, shifted(TEXT))
    page.click("#others summary")
    other = page.locator("#alternatives button").first
    text = other.inner_text()
    other.click()
    says(page, text)
    page.click("#glossary summary")
    page.click("#add")
    page.fill("#terms input >> nth=0", "bee")
    page.fill("#terms input >> nth=1", "pig")
    expect(page.locator("#output")).to_contain_text("pig", timeout=PATIENCE)
    page.fill("#source", "owl pig")
    says(page, shifted("owl pig"))
    page.click("#past summary")
    page.locator("#history button", has_text=TEXT).first.click()
    expect(page.locator("#source")).to_have_value(TEXT)


def test_a_file_is_sent_and_fetched(visit: "Visit") -> None:
    page = visit()
    page.select_option("#from", "en")
    page.select_option("#to", "de")
    page.click("#files summary")
    page.set_input_files("#file", [{"name": "a.md", "mimeType": "text/markdown", "buffer": b"# ant *bee*\n"}])
    page.click("#upload button")
    with page.expect_download() as download:
        page.locator("#result a").click(timeout=PATIENCE)
    assert download.value.path().read_bytes() == b"# bee *cat*\n"


def test_a_reviewer_rejects_a_correction(serve: Serve, browser: Browser) -> None:
    site = serve(admin_key="open")
    site.post("/suggest", json={"q": "ant", "s": "Ameise", "source": "en", "target": "de"})
    visit = Visit(browser, site.url)
    page = visit("/review")
    page.fill("#key", "open")
    page.click("#ask button")
    expect(page.locator("#corrections")).to_contain_text("ant", timeout=PATIENCE)
    page.click("#corrections button >> text=Reject")
    expect(page.locator("#done")).to_have_text("Done.", timeout=PATIENCE)
    assert site.translate(q="ant", source="en", target="de").json()["translatedText"] == "bee"
    page.context.close()
    assert not visit.complaints


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-US", "ja-JP"])
@pytest.mark.parametrize("size", SIZES)
def test_everybody_can_use_it(visit: "Visit", size: str, locale: str, theme: str) -> None:
    page = visit(size=size, locale=locale, theme=theme)
    write(page, TEXT)
    says(page, shifted(TEXT))
    for summary in page.locator("summary:visible").all():
        summary.click()
    expect(page.locator("html")).to_have_attribute("lang", locale[:2])
    expect(page.locator("h1")).to_have_text({"en-US": "Translate", "ja-JP": "翻訳"}[locale])
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
    found = axe.Axe().run(page)
    assert not found.response["violations"], found.generate_report()


def test_both_languages_say_the_same_things(visit: "Visit") -> None:
    """A word that one of them lacks would show as nothing."""
    page = visit()
    names = page.evaluate(
        "import('./page/strings.js').then((m) => Object.entries(m.WORDS).map(([, w]) => Object.keys(w)))"
    )
    assert names[0] == names[1] and len(names[0]) > 40
    used = {
        name
        for group in page.evaluate("""[...document.querySelectorAll('*')].map((n) =>
        [n.dataset.say, n.dataset.sayLabel, n.dataset.sayPlaceholder])""")
        for name in group
        if name
    }
    assert used <= set(names[0])
