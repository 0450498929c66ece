/**
 * A real VS Code without a desktop: code-server with the Node that it wants, and Chromium.
 *
 * All comes from the npm registry and from Debian. It is kept in a cache folder outside the
 * checkout, one subfolder per pair of versions, and installed once.
 */

import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { installPackages, isDebian } from "./debian.mjs";
import { run, StepFailure } from "./steps.mjs";

const NODE = "24.21.0";
const CODE_SERVER = "4.139.1";
/** What code-server's native modules are compiled with and against. */
const BUILD_PACKAGES = [
  ...["g++", "make", "pkg-config", "python3"],
  ...["libkrb5-dev", "libsecret-1-dev", "libx11-dev", "libxkbfile-dev"],
];
const BROWSER_PACKAGES = ["chromium", "fonts-dejavu-core"];

export const cache =
  process.env.IRENE_EDITOR_CACHE ??
  path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), ".cache"), "irene-e2e");

const folder = path.join(cache, `code-server-${CODE_SERVER}-node-${NODE}`);

/** The commands that start the editor. */
export const editor = {
  node: path.join(folder, "node", "node_modules", "node", "bin", "node"),
  entry: path.join(folder, "app", "node_modules", "code-server", "out", "node", "entry.js"),
  chromium: process.env.CHROMIUM ?? "/usr/bin/chromium",
};

/**
 * Installs what is missing.
 * @param {{ browser: boolean }} parts
 * @returns {Promise<string | undefined>} a remark for the step
 */
export async function installEditor({ browser }) {
  if (!isDebian) {
    throw new StepFailure(
      "An editor can be installed here on Debian and Ubuntu only.",
      "Run this on Debian or Ubuntu (a container will do); the other tests do not need it.",
    );
  }
  if (browser && !existsSync(editor.chromium)) await installPackages(BROWSER_PACKAGES);
  if (existsSync(editor.entry) && existsSync(editor.node)) return "nothing changed";
  await installPackages(BUILD_PACKAGES);
  await installCodeServer();
  return undefined;
}

/** Into a folder beside the final one, which is renamed when all is there: a half-made one never counts. */
async function installCodeServer() {
  const advice = `Look at the last lines: usually a missing network or a full disk (1 GB is needed in ${cache}). Then run the same command again.`;
  const draft = `${folder}.${process.pid}`;
  try {
    const node = project(path.join(draft, "node"));
    await run("npm-node", "npm", ["install", `node@${NODE}`], { advice, cwd: node });
    const home = path.join(node, "node_modules", "node");
    const app = project(path.join(draft, "app"));
    await run(
      "npm-code-server",
      "npm",
      ["install", "--foreground-scripts", `code-server@${CODE_SERVER}`],
      {
        advice,
        cwd: app,
        env: buildEnvironment(home),
      },
    );
    rmSync(folder, { recursive: true, force: true });
    renameSync(draft, folder);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

/**
 * The native modules are built for the Node that will run them, with the headers it brings along.
 * npm hands down which Node it runs on, and code-server believes that: here it is another one.
 * @param {string} home
 */
function buildEnvironment(home) {
  const headers = path.join(home, "node_modules", `node-linux-${os.arch()}`);
  if (!existsSync(path.join(headers, "include", "node"))) {
    throw new StepFailure(
      `The package node@${NODE} brought no headers in ${headers}.`,
      "Report this.",
    );
  }
  const PATH = `${path.join(home, "bin")}${path.delimiter}${process.env.PATH}`;
  const { npm_config_user_agent: _, ...inherited } = process.env;
  return { ...inherited, PATH, npm_config_nodedir: headers };
}

/** @param {string} directory */
function project(directory) {
  mkdirSync(directory, { recursive: true });
  writeFileSync(path.join(directory, "package.json"), '{ "private": true }\n');
  return directory;
}
