"""Opens a report in a real browser and checks what a parser cannot see. To run by hand:

python tests/slow/report_in_browser.py results/small/report.html OUT

Needs Chromium (Debian's `chromium`) and `python -m pip install playwright`. Writes a screenshot of the whole page for
each width and colour scheme into OUT. Fails on a network request, a console message, a page wider than its window, text
with less than WCAG's AA contrast, and text in charts smaller than 8 px.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
WIDTHS = {"desktop": 1280, "phone": 360}
CONTRAST = """() => {
  const channel = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
  const rgba = c => { const d = document.createElement('canvas'); d.width = d.height = 1; const x = d.getContext('2d')
    x.fillStyle = c; x.fillRect(0, 0, 1, 1); return [...x.getImageData(0, 0, 1, 1).data] }
  const light = c => { const [r, g, b] = rgba(c).map(v => channel(v / 255))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b }
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor
    if (rgba(c)[3] === 255) return c } return 'white' }
  const found = []
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue
    const style = getComputedStyle(e), text = e instanceof SVGElement ? style.fill : style.color
    const [a, b] = [light(text), light(behind(e))].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05)
    const what = `${e.tagName} "${e.textContent.trim().slice(0, 30)}"`
    if (ratio < 4.5) found.push(`${what} ${text} on ${behind(e)}: ${ratio.toFixed(2)}`)
  }
  return found
}"""
SMALL = """() => [...document.querySelectorAll('.chart text')]
  .map(e => [e.getBoundingClientRect().height, e.textContent]).filter(([height]) => height > 0 && height < 8)
  .map(([height, text]) => `"${text}" is ${height.toFixed(1)} px high`)"""


def find_faults(page: Page, file: Path) -> list[str]:
    faults: list[str] = []
    page.on("console", lambda message: faults.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on("request", lambda request: faults.append(f"loads {request.url}"))
    page.goto(file.resolve().as_uri())
    faults = [fault for fault in faults if not fault.startswith(("loads file:", "loads data:"))]
    page_width, window_width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    if page_width > window_width:
        faults.append(f"{page_width} px wide in a window of {window_width}")
    faults += [f"contrast: {text}" for text in page.evaluate(CONTRAST)]
    return faults + page.evaluate(SMALL)


def main(file: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    faults = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS.split())
        for device, width in WIDTHS.items():
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
                page = context.new_page()
                faults += [f"{device}-{scheme}: {fault}" for fault in find_faults(page, file)]
                page.screenshot(path=out / f"{device}-{scheme}.png", full_page=True)
                context.close()
        page = browser.new_page()
        page.goto(file.resolve().as_uri())
        page.pdf(path=out / "print.pdf", format="A4")
        browser.close()
    print("\n".join(faults) or f"No faults. Screenshots are in {out}.")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
