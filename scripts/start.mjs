/**
 * `npm start [-- FILE] [--no-open]`: installs what is needed, prints FILE with its joules, and opens
 * it in an editor with the extension.
 */

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { extensionBundle, nodeModules, vsix, vsixFile, wheel } from "./lib/build.mjs";
import { isDebian } from "./lib/debian.mjs";
import { cache, editor, installEditor } from "./lib/editor.mjs";
import { python, pythonEnvironment, tool } from "./lib/python.mjs";
import { startArguments } from "./lib/startArguments.mjs";
import { root, run, StepFailure, script, show, step } from "./lib/steps.mjs";

const EXAMPLE = path.join("examples", "gpt.py");

await script(async () => {
  const typed = startArguments(process.argv.slice(2));
  const file = path.resolve(typed.file ?? path.join(root, EXAMPLE));
  if (!existsSync(file)) {
    throw new StepFailure(`There is no file ${file}.`, "Name a Python file: npm start -- FILE");
  }
  await step("Node modules", nodeModules);
  await step("Python environment (.venv)", pythonEnvironment);
  await step("Extension", extensionBundle);
  console.log();
  const status = await show(tool("irene"), ["annotate", file, "--python", python]);
  console.log();
  if (!typed.opens || status !== 0) {
    sayCommands();
    return status;
  }
  await step("Wheel", wheel);
  await step("VSIX", vsix);
  return await open(file);
});

/**
 * The editor that is here, else one in a browser, else the line that installs the extension.
 * @param {string} file
 */
async function open(file) {
  const code = process.platform === "win32" ? "code.cmd" : "code";
  const shell = process.platform === "win32";
  if (spawnSync(code, ["--version"], { shell }).status === 0) return openInCode(code, file);
  if (isDebian) return openInBrowser(file);
  console.log(`Install the extension with: code --install-extension ${vsixFile()}\n`);
  sayCommands();
  return 0;
}

/** Nothing is put on the PATH: where the command line and its Python are. */
function sayCommands() {
  const [irene, its] = [tool("irene"), python].map((it) => path.relative(root, it));
  console.log(`The command line: ${irene} --help; for Python and notebooks: ${its}`);
}

/**
 * @param {string} code
 * @param {string} file
 */
async function openInCode(code, file) {
  await step("Extension into VS Code", async () => {
    await run("code-install", code, ["--install-extension", vsixFile(), "--force"], {
      advice: `Install it by hand: code --install-extension ${vsixFile()}`,
    });
  });
  console.log();
  sayCommands();
  return show(code, [path.dirname(file), file]);
}

/** @param {string} file */
async function openInBrowser(file) {
  await step("Editor (code-server, about 2 minutes the first time)", () =>
    installEditor({ browser: false }),
  );
  const home = path.join(cache, "start");
  const data = path.join(home, "user-data");
  const extensions = path.join(home, "extensions");
  writeSettings(data);
  const places = ["--user-data-dir", data, "--extensions-dir", extensions];
  await step("Extension into the editor", async () => {
    await run(
      "editor-install",
      editor.node,
      [editor.entry, ...places, "--install-extension", vsixFile(), "--force"],
      { advice: "The last lines say what code-server found wrong with the VSIX." },
    );
  });
  const port = await freePort();
  const folder = encodeURIComponent(path.dirname(file));
  const payload = encodeURIComponent(
    JSON.stringify([["openFile", `vscode-remote://127.0.0.1:${port}${file}`]]),
  );
  const url = `http://127.0.0.1:${port}/?folder=${folder}&payload=${payload}`;
  console.log();
  sayCommands();
  console.log(`\nOpen ${url}\nStop with Ctrl+C.\n`);
  const args = ["--auth", "none", "--bind-addr", `127.0.0.1:${port}`, ...places];
  const quiet = ["--disable-telemetry", "--disable-update-check", "--config"];
  const served = show(editor.node, [
    editor.entry,
    ...args,
    ...quiet,
    path.join(home, "config.yaml"),
  ]);
  if (process.env.DISPLAY || process.env.WAYLAND_DISPLAY) {
    setTimeout(() => spawn("xdg-open", [url], { stdio: "ignore" }).on("error", () => {}), 2000);
  }
  return await served;
}

/**
 * The models are built in the environment of the checkout. Whoever names a file here has just had it
 * built in the terminal, so that the editor need not ask for trust.
 * @param {string} data
 */
function writeSettings(data) {
  const settings = {
    "irene.interpreter": python,
    "security.workspace.trust.enabled": false,
    "workbench.startupEditor": "none",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "chat.disableAIFeatures": true,
    "telemetry.telemetryLevel": "off",
  };
  for (const place of ["User", "Machine"]) {
    const file = path.join(data, place, "settings.json");
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, JSON.stringify(settings, null, 2));
  }
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
