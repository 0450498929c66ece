/** The editor's window as a person uses it: files, hints, lenses, cards, commands, typing. */

import { type Browser, chromium, type Locator, type Page } from "playwright-core";
import { editor } from "../../scripts/lib/editor.mjs";

/** A line as it is drawn: the code, and the hints that stand in it. */
export interface DrawnLine {
  readonly line: number;
  readonly code: string;
  readonly hints: readonly string[];
}

export interface DrawnLens {
  /** Line of the statement below the lens. */
  readonly line: number;
  readonly texts: readonly string[];
}

export interface WindowOptions {
  readonly width?: number;
  readonly height?: number;
  readonly theme?: "light" | "dark";
}

const LIMIT_MS = 60_000;
const EDITOR = ".editor-group-container.active .editor-instance .monaco-editor";

export class Workbench {
  readonly page: Page;
  readonly #browser: Browser;

  private constructor(browser: Browser, page: Page) {
    this.#browser = browser;
    this.page = page;
  }

  static async open(url: string, options: WindowOptions = {}): Promise<Workbench> {
    const { width = 1400, height = 2400, theme = "light" } = options;
    const browser = await chromium.launch({
      executablePath: editor.chromium,
      args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    });
    const page = await browser.newPage({ viewport: { width, height }, colorScheme: theme });
    page.setDefaultTimeout(LIMIT_MS);
    await page.goto(url);
    await page.locator(".monaco-workbench .part.statusbar").waitFor();
    await page.locator(".explorer-folders-view .monaco-list-row").first().waitFor();
    return new Workbench(browser, page);
  }

  async close(): Promise<void> {
    await this.#browser.close();
  }

  async openFile(name: string): Promise<void> {
    const base = name.split("/").at(-1) ?? name;
    await this.#quickInput("Control+P", name, base);
    await this.page.keyboard.press("Enter");
    await this.page.locator(`.tab.active[data-resource-name="${base}"]`).waitFor();
  }

  async runCommand(title: string): Promise<void> {
    const row = await this.#quickInput("F1", `>${title}`, title);
    await row.click();
  }

  async goTo(line: number, column = 1): Promise<void> {
    const row = await this.#quickInput("Control+G", `:${line}:${column}`, `${line}`);
    await row.click();
    await this.page.locator(".quick-input-widget").waitFor({ state: "hidden" });
  }

  /** The lines on the screen, top to bottom. */
  lines(): Promise<readonly DrawnLine[]> {
    return this.page.evaluate(drawnLines, EDITOR);
  }

  lenses(): Promise<readonly DrawnLens[]> {
    return this.page.evaluate(drawnLenses, EDITOR);
  }

  /** Hints of the first line on the screen whose code contains `code`. */
  async hintsAt(code: string): Promise<readonly string[]> {
    const lines = await this.lines();
    return lines.find((it) => it.code.includes(code))?.hints ?? [];
  }

  /** Texts of the lens over the first line on the screen whose code contains `code`. */
  async lensOver(code: string): Promise<readonly string[]> {
    const [lines, lenses] = [await this.lines(), await this.lenses()];
    const line = lines.find((it) => it.code.includes(code))?.line;
    return lenses.find((it) => it.line === line)?.texts ?? [];
  }

  async clickLens(code: string, text: string): Promise<void> {
    const line = (await this.lines()).find((it) => it.code.includes(code))?.line;
    const index = (await this.lenses()).findIndex((it) => it.line === line);
    const lens = this.page.locator(`${EDITOR} .codelens-decoration`).nth(index);
    await lens.locator("a", { hasText: text }).first().click();
  }

  /** The card that opens over `text` in the first line that contains `code`. */
  async hover(code: string, text: string): Promise<string> {
    const spot = await this.page.evaluate(placeOf, [EDITOR, code, text] as const);
    if (spot === null) throw new Error(`"${text}" is not on the screen in a line with "${code}"`);
    // Away first: the mouse jumps, since a path over other code opens that code's card.
    await this.page.mouse.move(1, 1);
    await this.page.waitForTimeout(400);
    await this.page.mouse.move(spot.x, spot.y);
    await this.page.mouse.move(spot.x + 1, spot.y);
    const card = this.page.locator(".monaco-hover:not(.hidden) .hover-row:visible").first();
    await card.waitFor();
    return until(
      () => card.innerText(),
      (it) => it.trim() !== "" && !it.startsWith("Loading"),
    );
  }

  /** To the end of the open card. */
  async scrollCard(): Promise<void> {
    await this.page.locator(".monaco-hover:not(.hidden) .hover-row:visible").first().hover();
    for (let n = 0; n < 20; n++) {
      await this.page.mouse.wheel(0, 200);
      await this.page.waitForTimeout(50);
    }
  }

  /** Selects `old` in the first line that contains `code`, and types `text` in its place. */
  async replace(code: string, old: string, text: string): Promise<void> {
    const line = (await this.lines()).find((it) => it.code.includes(code));
    if (line === undefined) throw new Error(`no line with "${code}" on the screen`);
    await this.goTo(line.line, line.code.indexOf(old) + 1);
    for (const _ of old) await this.page.keyboard.press("Shift+ArrowRight");
    await this.page.keyboard.type(text, { delay: 30 });
    await this.page.keyboard.press("Escape");
  }

  /** The text of the extension's status bar item; null while it is hidden. */
  async status(): Promise<string | null> {
    const item = this.page.locator('.statusbar-item[id^="irene.irene-energy"]:visible');
    return (await item.count()) === 0 ? null : (await item.first().innerText()).trim();
  }

  async notifications(): Promise<readonly string[]> {
    return this.page.locator(".notification-list-item:visible").allInnerTexts();
  }

  notification(text: string | RegExp): Locator {
    return this.page.locator(".notification-list-item:visible", { hasText: text });
  }

  /** A picture of the window once what fades or slides in has done so. */
  async screenshot(file: string): Promise<void> {
    await this.page.evaluate(settled);
    await this.page.screenshot({ path: file });
  }

  /** Opens a quick input, types, and waits for the row with `row` where one is named. */
  async #quickInput(key: string, text: string, row?: string): Promise<Locator> {
    await this.page.keyboard.press(key);
    const box = this.page.locator(".quick-input-widget:visible");
    await box.locator("input").first().fill(text);
    const rows = box.locator(".quick-input-list .monaco-list-row", { hasText: row });
    if (row !== undefined) await rows.first().waitFor();
    return rows.first();
  }
}

/** Reads again and again until the value is accepted; the error shows the last value. */
export async function until<Value>(
  read: () => Promise<Value>,
  accept: (value: Value) => boolean,
  limitMs = LIMIT_MS,
): Promise<Value> {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = await read();
    if (accept(value)) return value;
    if (Date.now() > end) throw new Error(`still ${JSON.stringify(value)} after ${limitMs} ms`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

// The functions below run inside the page: each must stand alone.

/** Waits for every animation that ends; that of a busy mark does not. */
async function settled(): Promise<void> {
  const ending = document
    .getAnimations()
    .filter((it) => Number.isFinite(it.effect?.getComputedTiming().endTime));
  await Promise.allSettled(ending.map((it) => it.finished));
}

/** A text line and the row of the margin that has its number share their `top`. */
function drawnLines(selector: string): DrawnLine[] {
  const root = document.querySelector(selector);
  if (root === null) return [];
  const numbers = new Map<string, number>();
  for (const row of root.querySelectorAll<HTMLElement>(".margin-view-overlays > div")) {
    numbers.set(row.style.top, Number(row.querySelector(".line-numbers")?.textContent ?? 0));
  }
  return [...root.querySelectorAll<HTMLElement>(".view-lines > .view-line")]
    .map((row) => {
      const pieces = [...row.querySelectorAll(":scope > span > span")].map((it) => ({
        text: (it.textContent ?? "").replaceAll("\u00a0", " ").replaceAll("\u200b", ""),
        // The class that the editor makes for text that it injects: a hint.
        isHint: /\bdyn-rule-\d+-\d+\b/.test(it.className),
      }));
      const code = pieces.filter((it) => !it.isHint).map((it) => it.text);
      const hints = pieces.filter((it) => it.isHint).map((it) => it.text.trim());
      return {
        line: numbers.get(row.style.top) ?? 0,
        code: code.join(""),
        hints: hints.filter((it) => it !== ""),
      };
    })
    .filter((it) => it.line > 0)
    .sort((a, b) => a.line - b.line);
}

/** A lens stands over the first line whose `top` is at or below its own. */
function drawnLenses(selector: string): DrawnLens[] {
  const root = document.querySelector(selector);
  if (root === null) return [];
  const rows = [...root.querySelectorAll<HTMLElement>(".margin-view-overlays > div")]
    .map((it) => ({
      top: Number.parseFloat(it.style.top),
      line: Number(it.querySelector(".line-numbers")?.textContent ?? 0),
    }))
    .filter((it) => it.line > 0)
    .sort((a, b) => a.top - b.top);
  return [...root.querySelectorAll<HTMLElement>(".codelens-decoration")].map((lens) => ({
    line: rows.find((it) => it.top >= Number.parseFloat(lens.style.top))?.line ?? 0,
    texts: [...lens.querySelectorAll("a, span:not(:has(*))")]
      .map((it) => (it.textContent ?? "").replaceAll("\u00a0", " ").trim())
      .filter((it) => it !== "" && it !== "|"),
  }));
}

/** The middle of `text` in the first line that contains `code`, hints included. */
function placeOf([selector, code, text]: readonly [string, string, string]): {
  x: number;
  y: number;
} | null {
  const plain = (it: string) => it.replaceAll("\u00a0", " ");
  const rows = [...document.querySelectorAll<HTMLElement>(`${selector} .view-lines > .view-line`)];
  const row = rows.find((it) => plain(it.textContent ?? "").includes(code));
  if (row === undefined) return null;
  const start = plain(row.textContent ?? "").indexOf(text);
  if (start < 0) return null;
  const walker = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
  let before = 0;
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    const length = (node.textContent ?? "").length;
    if (before + length > start) {
      const range = document.createRange();
      range.setStart(node, start - before);
      range.setEnd(node, Math.min(length, start - before + text.length));
      const box = range.getBoundingClientRect();
      return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    }
    before += length;
  }
  return null;
}
