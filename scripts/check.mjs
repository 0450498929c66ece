/** `npm run check`: linters, formats, types and import rules; each warning is an error. */

import path from "node:path";
import { nodeModules } from "./lib/build.mjs";
import { python, pythonEnvironment, tool } from "./lib/python.mjs";
import { messageOf, root, run, script, step } from "./lib/steps.mjs";

const advice =
  "Correct what is named above; `ruff format .` and `npx biome check --write .` correct formats.";

/** @param {string} name */
const nodeTool = (name) => path.join(root, "node_modules", ...name.split("/"));

/** @type {readonly (readonly [string, string, readonly string[]])[]} */
const checks = [
  ["ruff", tool("ruff"), ["check", "."]],
  ["ruff format", tool("ruff"), ["format", "--check", "."]],
  ["mypy", python, ["-m", "mypy"]],
  ["import rules", tool("lint-imports"), []],
  [
    "biome",
    process.execPath,
    [nodeTool("@biomejs/biome/bin/biome"), "check", "--error-on-warnings", "."],
  ],
  ["tsc", process.execPath, [nodeTool("typescript/bin/tsc"), "-p", "tsconfig.json"]],
  [
    "tsc, editor tests",
    process.execPath,
    [nodeTool("typescript/bin/tsc"), "-p", "tsconfig.e2e.json"],
  ],
];

await script(async () => {
  await step("Node modules", nodeModules);
  await step("Python environment (.venv)", pythonEnvironment);
  let failed = 0;
  for (const [title, command, args] of checks) {
    try {
      await step(title, async () => {
        await run(`check-${title.replace(/\W+/g, "-")}`, command, args, { advice });
      });
    } catch (error) {
      failed += 1;
      console.error(messageOf(error));
    }
  }
  if (failed > 0) console.error(`\n${failed} of ${checks.length} checks failed. ${advice}`);
  return failed === 0 ? 0 : 1;
});
