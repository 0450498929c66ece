/** Takes the pictures of the documentation, in both themes: `npm run pictures`. */

import path from "node:path";
import { describe, test } from "vitest";
import { root } from "../../scripts/lib/steps.mjs";
import { installedModel, isValue, useSession } from "./session";
import { until, type Workbench } from "./workbench";

const { open } = useSession();
const SIZE = { width: 1400, height: 900 };

describe.each(["light", "dark"] as const)("%s", (theme) => {
  const take = (editor: Workbench, name: string) =>
    editor.screenshot(path.join(root, "docs", "pictures", `${name}-${theme}.png`));

  test("an example, with the card of a class", async () => {
    const editor = await open("gpt.py", { theme, ...SIZE });
    await editor.goTo(37);
    await until(() => editor.lensOver("class Block"), isValue);
    await editor.hover("class Block", "Block");
    await take(editor, "hover");
  });

  test("modeling_bert.py as it lies in the installed Transformers", async () => {
    const editor = await open("modeling_bert.py", { theme, ...SIZE }, installedModel("bert"));
    await editor.goTo(359);
    await until(
      () => editor.hintsAt("self.attention = "),
      (it) => it.length > 0,
    );
    await editor.hover("self.attention = ", "attention");
    await take(editor, "bert");
  });

  test("what a card of a mixture of experts takes for granted", async () => {
    const editor = await open("modeling_mixtral.py", { theme, ...SIZE }, installedModel("mixtral"));
    await editor.goTo(390);
    await until(() => editor.lensOver("class MixtralModel"), isValue);
    await editor.hover("class MixtralModel", "MixtralModel");
    await editor.scrollCard();
    await take(editor, "assumptions");
  });

  test("a profile in progress, and after it", async () => {
    const settings = { "irene.device": "cpu" };
    const editor = await open("gpt.py", { theme, ...SIZE, settings });
    await editor.goTo(53);
    await until(() => editor.lensOver("class GPT"), isValue);
    await editor.clickLens("class GPT", "Profile this model");
    await editor.notification("measuring").waitFor();
    await take(editor, "profiling");
    await until(
      () => editor.lensOver("class GPT"),
      (it) => it.some((text) => text.includes("profiled")),
      120_000,
    );
    await editor.hover("class GPT", "GPT");
    await take(editor, "profiled");
  });

  test("Restricted Mode", async () => {
    const editor = await open("gpt.py", { theme, ...SIZE, restricted: true });
    await editor.goTo(53);
    await until(
      () => editor.lensOver("class GPT"),
      (it) => it.some((text) => text.includes("needs trust")),
    );
    await take(editor, "restricted");
  });
});
