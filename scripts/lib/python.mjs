/** The Python environment of the checkout: `.venv`, with server, engine and development tools. */

import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import path from "node:path";
import { installPackages, isDebian } from "./debian.mjs";
import { unlessUnchanged } from "./stamps.mjs";
import { root, run, StepFailure } from "./steps.mjs";

const OLDEST = [3, 10];
const folder = path.join(root, ".venv");
const isWindows = process.platform === "win32";

/** Folder of the environment's commands. */
export const commands = path.join(folder, isWindows ? "Scripts" : "bin");
export const python = path.join(commands, isWindows ? "python.exe" : "python");

/** @param {string} name */
export function tool(name) {
  return path.join(commands, isWindows ? `${name}.exe` : name);
}

/** @returns {Promise<string | undefined>} */
export function pythonEnvironment() {
  const stamp = path.join(folder, "irene-stamp");
  // The interpreter that it was made from may be gone since.
  if (!works(python)) rmSync(stamp, { force: true });
  return unlessUnchanged(stamp, ["pyproject.toml", "constraints.txt"], install, [root]);
}

async function install() {
  if (!works(python)) await makeEnvironment();
  const advice =
    "Look at the last lines: a missing network, a full disk and a Python that is too new are the usual reasons. Then run the same command again.";
  const pip = [
    "-m",
    "pip",
    "install",
    "--disable-pip-version-check",
    "--no-input",
    "-c",
    "constraints.txt",
  ];
  // The groups of pyproject.toml need pip 25.1.
  await run("pip-tools", python, [...pip, "--upgrade", "pip", "hatchling", "editables"], {
    advice,
  });
  const ours = ["--no-build-isolation", "-e", ".[server,models]", "--group", "dev"];
  await run("pip-install", python, [...pip, ...ours], { advice });
}

async function makeEnvironment() {
  const base = findPython();
  const advice = `Install the venv module of ${base.join(" ")} (on Debian and Ubuntu: apt-get install python3-venv), then run the same command again.`;
  if (isDebian && !has(base, "ensurepip")) await installPackages(["python3-venv"]);
  rmSync(folder, { recursive: true, force: true });
  const [command = "python3", ...before] = base;
  await run("venv", command, [...before, "-m", "venv", folder], { advice });
}

/** @returns {readonly string[]} a command that starts a Python that is new enough */
function findPython() {
  const named = ["python3", "python3.13", "python3.12", "python3.11", "python3.10", "python"];
  const candidates = [...named.map((it) => [it]), ...(isWindows ? [["py", "-3"]] : [])];
  const found = candidates.find(([command = "", ...args]) => works(command, args));
  if (found !== undefined) return found;
  throw new StepFailure(
    `No Python ${OLDEST.join(".")} or newer was found (tried ${candidates.map((it) => it.join(" ")).join(", ")}).`,
    `Install Python ${OLDEST.join(".")} or newer, so that \`python3\` starts it.`,
  );
}

/**
 * @param {string} command
 * @param {readonly string[]} [args]
 */
function works(command, args = []) {
  const question = `import sys; sys.exit(sys.version_info < (${OLDEST.join(", ")}))`;
  return spawnSync(command, [...args, "-c", question]).status === 0;
}

/**
 * @param {readonly string[]} base
 * @param {string} module
 */
function has([command = "", ...args], module) {
  return spawnSync(command, [...args, "-c", `import ${module}`]).status === 0;
}
