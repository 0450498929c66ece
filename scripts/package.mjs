/** `npm run package`: writes `dist/irene-*.vsix`, which carries the wheel of server and engine. */

import { statSync } from "node:fs";
import path from "node:path";
import { extensionBundle, nodeModules, vsix, vsixFile, wheel } from "./lib/build.mjs";
import { pythonEnvironment } from "./lib/python.mjs";
import { root, script, step } from "./lib/steps.mjs";

await script(async () => {
  await step("Node modules", nodeModules);
  await step("Python environment (.venv)", pythonEnvironment);
  await step("Extension", extensionBundle);
  await step("Wheel", wheel);
  await step("VSIX", vsix);
  const kilobytes = Math.round(statSync(vsixFile()).size / 1000);
  console.log(`${path.relative(root, vsixFile())}, ${kilobytes} kB`);
});
