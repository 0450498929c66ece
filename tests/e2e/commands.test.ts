/** Commands, changes of trust and of interpreters, in a real VS Code, without a reload. */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { python } from "../../scripts/lib/python.mjs";
import { isValue, useSession } from "./session";
import { until, type Workbench } from "./workbench";

const { open, folder, changeSettings } = useSession();

const settingsFile = () => path.join(folder(), ".vscode", "settings.json");

function settings(): Record<string, unknown> {
  return existsSync(settingsFile()) ? JSON.parse(readFileSync(settingsFile(), "utf8")) : {};
}

async function pick(editor: Workbench, text: string): Promise<void> {
  const box = editor.page.locator(".quick-input-widget:visible");
  await box.locator("input").first().fill(text);
  const row = box.locator(".quick-input-list .monaco-list-row", { hasText: text }).first();
  await row.click();
}

/** The document in front, without lines that are not on the screen. */
async function text(editor: Workbench): Promise<string> {
  return (await editor.lines()).map((it) => it.code).join("\n");
}

test("Select device writes the setting, and the values follow", async () => {
  const editor = await open("gpt.py");
  await until(() => editor.lensOver("class GPT"), isValue);
  await editor.runCommand("IrEne: Select device");
  await pick(editor, "H100");
  await until(
    () => editor.lensOver("class GPT"),
    (it) => it.some((lens) => lens.includes("H100")),
  );
  expect(settings()["irene.device"]).toContain("H100");
  await until(
    () => editor.status(),
    (it) => it?.includes("H100") === true,
  );
});

test("Select target makes another class the one that shares refer to", async () => {
  const source = readFileSync(path.join(folder(), "gpt.py"), "utf8");
  const head = `

# irene: Head(64), x=float32[8, 64]
class Head(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x)
`;
  writeFileSync(path.join(folder(), "gpt.py"), source + head);
  const editor = await open("gpt.py");
  const lens = await until(() => editor.lensOver("class MLP"), isValue);
  expect(lens[0]).toContain("of GPT");
  await editor.runCommand("IrEne: Select target");
  await pick(editor, "Head");
  await until(
    () => editor.lensOver("class MLP"),
    (it) => it.some((text) => text.includes("8 x 64") && !text.includes("of GPT")),
  );
});

test("Report environment opens what both halves know, with both interpreters", async () => {
  const editor = await open("gpt.py");
  await until(() => editor.lensOver("class GPT"), isValue);
  await editor.runCommand("IrEne: Report environment");
  const report = await until(
    () => text(editor),
    (it) => it.includes("# IrEne: environment"),
  );
  expect(report).toContain("- server: running");
  expect(report).toContain(`- worker's interpreter: \`${python}\` (setting irene.interpreter)`);
  expect(report).toMatch(/torch/);
});

test("a profile shows its progress and can be cancelled", async () => {
  const source = readFileSync(path.join(folder(), "gpt.py"), "utf8");
  const large = source.replace("n_layers=6, width=512", "n_layers=24, width=1024");
  writeFileSync(path.join(folder(), "gpt.py"), large);
  const editor = await open("gpt.py", { settings: { "irene.device": "cpu" } });
  await until(() => editor.lensOver("class GPT"), isValue);
  await editor.runCommand("IrEne: Profile this model");
  const progress = editor.notification("IrEne: ");
  await progress.waitFor();
  await progress.hover();
  await progress.locator(".monaco-button, .action-label", { hasText: "Cancel" }).first().click();
  await progress.waitFor({ state: "hidden" });
  expect((await editor.lensOver("class GPT"))[0]).toContain("modelled");
  await editor.replace("self.up = nn.Linear", "4 * width", "2 * width");
  await until(
    () => editor.hintsAt("self.up = nn.Linear"),
    (it) => it.length === 1 && it[0]?.includes("stale") === false,
  );
});

describe("without a reload", () => {
  test("a folder that becomes trusted gets its values", async () => {
    const editor = await open("gpt.py", { restricted: true });
    await until(
      () => editor.lensOver("class GPT"),
      (it) => it.some((lens) => lens.includes("needs trust")),
    );
    await editor.runCommand("Workspaces: Manage Workspace Trust");
    await editor.page
      .locator(".workspace-trust-editor .monaco-button", { hasText: /^Trust$/ })
      .click();
    await editor.page.locator('.tab[data-resource-name="gpt.py"]').click();
    await until(() => editor.lensOver("class GPT"), isValue);
  });

  test("a corrected interpreter is used, and a wrong one is named", async () => {
    const missing = path.join(folder(), "no-python");
    const editor = await open("gpt.py", { settings: { "irene.server.interpreter": missing } });
    await until(
      () => editor.status(),
      (it) => it !== null,
    );
    await editor.runCommand("IrEne: Select device");
    await editor.notification(/irene\.server\.interpreter is .*no-python/).waitFor();
    // Written again and again: the editor begins to watch the files some time after its start.
    const write = () => changeSettings({ "irene.server.interpreter": python });
    const writing = setInterval(write, 3_000);
    write();
    try {
      await until(() => editor.lensOver("class GPT"), isValue);
    } finally {
      clearInterval(writing);
    }
  });
});
