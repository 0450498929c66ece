/** `npm run pictures`: takes the pictures of the documentation in a real editor, in both themes. */

import path from "node:path";
import { extensionBundle, nodeModules, vsix, wheel } from "./lib/build.mjs";
import { installEditor } from "./lib/editor.mjs";
import { pythonEnvironment } from "./lib/python.mjs";
import { root, script, show, step } from "./lib/steps.mjs";

await script(async () => {
  await step("Node modules", nodeModules);
  await step("Python environment (.venv)", pythonEnvironment);
  await step("Extension", extensionBundle);
  await step("Wheel", wheel);
  await step("VSIX", vsix);
  await step("Editor and browser (about 2 minutes the first time)", () =>
    installEditor({ browser: true }),
  );
  const cli = path.join(root, "node_modules", "vitest", "vitest.mjs");
  return await show(process.execPath, [cli, "run", "--project", "pictures"]);
});
