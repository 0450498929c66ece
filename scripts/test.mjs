/**
 * `npm test`: Python, TypeScript, the real server over stdio, the packaged extension in a real
 * editor. Installs what it needs and ends with one summary.
 */

import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { extensionBundle, nodeModules, vsix, wheel } from "./lib/build.mjs";
import { isDebian } from "./lib/debian.mjs";
import { installEditor } from "./lib/editor.mjs";
import { python, pythonEnvironment } from "./lib/python.mjs";
import { root, StepFailure, script, show, step } from "./lib/steps.mjs";

/**
 * @typedef {{ title: string, passed: number, failed: number, skipped: number }} Suite
 */

const TITLES = { unit: "TypeScript", e2e: "The packaged extension in a real editor" };
const results = path.join(root, "build", "tests");

await script(async () => {
  await step("Node modules", nodeModules);
  await step("Python environment (.venv)", pythonEnvironment);
  await step("Extension", extensionBundle);
  await step("Wheel", wheel);
  await step("VSIX", vsix);
  rmSync(results, { recursive: true, force: true });
  mkdirSync(results, { recursive: true });
  const suites = [await pytest(), await vitest("unit"), await inEditor()];
  console.log();
  for (const it of suites) {
    console.log(`${it.title}: ${it.passed} passed, ${it.failed} failed, ${it.skipped} skipped`);
  }
  /** @param {"passed" | "failed" | "skipped"} key */
  const sum = (key) => suites.reduce((total, it) => total + it[key], 0);
  console.log(`\n${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`);
  return sum("failed") === 0 ? 0 : 1;
});

/** @returns {Promise<Suite>} */
async function pytest() {
  console.log("\nPython, the server over stdio with it");
  const file = path.join(results, "pytest.xml");
  const status = await show(python, ["-m", "pytest", "-q", `--junitxml=${file}`]);
  const suite = existsSync(file) ? /<testsuite [^>]*>/.exec(readFileSync(file, "utf8")) : null;
  /** @param {string} name */
  const count = (name) => Number(new RegExp(` ${name}="(\\d+)"`).exec(suite?.[0] ?? "")?.[1] ?? 0);
  const failed = count("failures") + count("errors");
  return summary(
    "Python",
    status,
    count("tests") - failed - count("skipped"),
    failed,
    count("skipped"),
  );
}

/**
 * The editor's tests need an editor: elsewhere than on Debian they are skipped, and said to be.
 * @returns {Promise<Suite>}
 */
async function inEditor() {
  console.log();
  if (!isDebian) {
    console.log(
      "The editor's tests are skipped: code-server and Chromium come from Debian or Ubuntu.",
    );
    return { title: TITLES.e2e, passed: 0, failed: 0, skipped: 1 };
  }
  try {
    await step("Editor and browser (about 2 minutes the first time)", () =>
      installEditor({ browser: true }),
    );
  } catch (error) {
    if (!(error instanceof StepFailure)) throw error;
    console.error(`${error.message}\n\nWhat to do: ${error.advice}`);
    return { title: TITLES.e2e, passed: 0, failed: 1, skipped: 0 };
  }
  return await vitest("e2e");
}

/**
 * @param {"unit" | "e2e"} project
 * @returns {Promise<Suite>}
 */
async function vitest(project) {
  const title = TITLES[project];
  console.log(`\n${title}`);
  const file = path.join(results, `vitest-${project}.json`);
  const cli = path.join(root, "node_modules", "vitest", "vitest.mjs");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
  const status = await show(process.execPath, [cli, "run", "--project", project, ...reporters]);
  const read = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
  return summary(
    title,
    status,
    read.numPassedTests ?? 0,
    read.numFailedTests ?? 0,
    read.numPendingTests ?? 0,
  );
}

/**
 * A runner that ended badly, or ran nothing, counts as a failure, whatever it reported.
 * @param {string} title
 * @param {number} status
 * @param {number} passed
 * @param {number} failed
 * @param {number} skipped
 * @returns {Suite}
 */
function summary(title, status, passed, failed, skipped) {
  const isBroken = failed === 0 && (status !== 0 || passed === 0);
  return { title, passed, failed: isBroken ? 1 : failed, skipped };
}
