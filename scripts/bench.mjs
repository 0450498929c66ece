/** `npm run bench [-- NAME ...]`: runs the benchmarks; each prints ratios to a baseline of its own run. */

import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { nodeModules } from "./lib/build.mjs";
import { python, pythonEnvironment } from "./lib/python.mjs";
import { root, StepFailure, script, show, step } from "./lib/steps.mjs";

await script(async () => {
  await step("Node modules", nodeModules);
  await step("Python environment (.venv)", pythonEnvironment);
  const wanted = process.argv.slice(2);
  const all = benchmarks();
  const chosen = wanted.length === 0 ? all : all.filter((it) => wanted.includes(it));
  if (chosen.length === 0) {
    throw new StepFailure(
      `No benchmark is named ${wanted.join(" ")}.`,
      `There are: ${all.join(", ")}`,
    );
  }
  let failed = 0;
  for (const name of chosen) {
    console.log(`\n${name}`);
    failed += (await show(python, [path.join(root, "benchmarks", `${name}.py`)])) === 0 ? 0 : 1;
  }
  return failed === 0 ? 0 : 1;
});

/** @returns {string[]} */
function benchmarks() {
  const folder = path.join(root, "benchmarks");
  if (!existsSync(folder))
    throw new StepFailure(`There is no folder ${folder}.`, "Check it out from git.");
  return readdirSync(folder)
    .filter((it) => it.endsWith(".py") && it !== "reporting.py")
    .map((it) => it.slice(0, -3))
    .sort();
}
