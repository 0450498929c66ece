/** The packaged extension in a real VS Code: what a person sees and does. */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { installedModel, isValue, useSession } from "./session";
import { until } from "./workbench";

const { open, folder } = useSession();

describe("an example in plain PyTorch", () => {
  test("has joules on classes and submodules, and follows the typing", async () => {
    const editor = await open("gpt.py");
    const lens = await until(() => editor.lensOver("class Block"), isValue);
    expect(lens[0]).toMatch(
      /^6 x \S+ mJ = \S+ mJ per forward · \d+ % of GPT · A100-SXM4-80GB · 8 x 128 · float32 · modelled x\/÷ \d\.\d$/,
    );
    expect(lens).toContain("Profile this model");
    const before = await editor.hintsAt("self.up = nn.Linear");
    expect(before[0]).toMatch(/^6 x \S+ mJ · \d+ %$/);
    expect(await editor.hintsAt("self.blocks = nn.ModuleList")).toHaveLength(1);
    await editor.replace("self.up = nn.Linear", "4 * width", "2 * width");
    await editor.replace("self.down = nn.Linear", "4 * width", "2 * width");
    await until(
      () => editor.hintsAt("self.up = nn.Linear"),
      (it) => it.length === 1 && it[0] !== before[0] && !it[0]?.includes("stale"),
    );
    expect(await editor.notifications()).toEqual([]);
  });

  test("explains itself in a card whose rows add up", async () => {
    const editor = await open("gpt.py");
    await until(() => editor.lensOver("class Block"), isValue);
    const card = await editor.hover("class Block", "Block");
    expect(card).toContain("90 % interval");
    expect(card).toContain("modelled: physics and data sheets, nothing run");
    const written = [...card.matchAll(/(\d+\.\d+)\s+mJ\t█?/g)].map((it) => it[1] ?? "");
    const energies = written.map((it) => Number(it.replace(".", "")));
    const total = energies.pop();
    expect(energies.length).toBeGreaterThan(3);
    expect(new Set(written.map((it) => it.split(".")[1]?.length)).size).toBe(1);
    expect(energies.reduce((sum, it) => sum + it, 0)).toBe(total);
    const call = await editor.hover("x = x + self.attn", "attn");
    expect(call).toContain("Attention");
  });

  test("is profiled by a click, and the values stay after a restart", async () => {
    const editor = await open("gpt.py", { settings: { "irene.device": "cpu" } });
    await until(() => editor.lensOver("class GPT"), isValue);
    await editor.clickLens("class GPT", "Profile this model");
    const isProfiled = (it: readonly string[]) => it.some((text) => text.includes("profiled"));
    await until(() => editor.lensOver("class GPT"), isProfiled, 120_000);
    await editor.runCommand("IrEne: Restart server");
    await until(() => editor.lensOver("class GPT"), isProfiled);
  });
});

test("modeling_bert.py of the installed Transformers has values as it lies there", async () => {
  const editor = await open("modeling_bert.py", {}, installedModel("bert"));
  const lens = await until(() => editor.lensOver("class BertEmbeddings"), isValue);
  expect(lens[0]).toContain("of BertModel");
});

describe("Restricted Mode", () => {
  test("runs nothing of the folder and says what it needs", async () => {
    const mark = path.join(folder(), "ran");
    const text = readFileSync(path.join(folder(), "gpt.py"), "utf8");
    writeFileSync(
      path.join(folder(), "gpt.py"),
      `${text}\nopen(${JSON.stringify(mark)}, "w").close()\n`,
    );
    const editor = await open("gpt.py", { restricted: true });
    const lens = await until(
      () => editor.lensOver("class GPT"),
      (it) => it.length > 0 && !it.includes("…"),
    );
    expect(lens[0]).toContain("needs trust");
    expect(await editor.hintsAt("self.up = nn.Linear")).toEqual([]);
    expect(existsSync(mark)).toBe(false);
    expect(await editor.status()).toContain("needs trust");
  });
});

test("modules planted in the workspace are not imported by the server", async () => {
  const mark = path.join(folder(), "planted-ran");
  const plant = `open(${JSON.stringify(mark)}, "w").close()\nraise RuntimeError("planted")\n`;
  for (const name of ["attrs.py", "pygls.py", "irene_server.py", "irene.py"]) {
    writeFileSync(path.join(folder(), name), plant);
  }
  mkdirSync(path.join(folder(), "server"));
  writeFileSync(path.join(folder(), "server", "__init__.py"), plant);
  const editor = await open("gpt.py");
  await until(() => editor.lensOver("class GPT"), isValue);
  expect(existsSync(mark)).toBe(false);
});

test("an interpreter without torch is named on the class", async () => {
  const editor = await open("gpt.py", { settings: { "irene.interpreter": "/usr/bin/python3" } });
  const lens = await until(
    () => editor.lensOver("class GPT"),
    (it) => it.some((text) => text.startsWith("n/a")),
    120_000,
  );
  expect(lens[0]).toContain("torch is not installed in /usr/bin/python3");
});
