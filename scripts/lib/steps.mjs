/**
 * Steps of a script: each says what it does, how long it took, and on failure why and what to do.
 */

import { spawn } from "node:child_process";
import { createWriteStream, mkdirSync } from "node:fs";
import path from "node:path";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const logs = path.join(root, "build", "logs");
const REPORT_EVERY_MS = 15_000;
const TAIL_LINES = 30;

/** Whether signs of life stand between the title of the step that runs and its end. */
let isInterrupted = false;

/** A step that failed: what, why (the end of what it printed), and what to do about it. */
export class StepFailure extends Error {
  /**
   * @param {string} message
   * @param {string} advice
   */
  constructor(message, advice) {
    super(message);
    this.advice = advice;
  }
}

/**
 * Runs one step and says how it went; `action` may return a remark ("nothing changed").
 * @param {string} title
 * @param {() => Promise<string | undefined | void>} action
 */
export async function step(title, action) {
  const start = performance.now();
  process.stdout.write(`• ${title} ...`);
  isInterrupted = false;
  try {
    const remark = await action();
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    end(title, `${seconds} s${remark ? ` (${remark})` : ""}`);
  } catch (error) {
    end(title, "failed");
    throw error;
  }
}

/**
 * The result on the line of the title, or on one of its own below what was said meanwhile.
 * @param {string} title
 * @param {string} result
 */
function end(title, result) {
  process.stdout.write(isInterrupted ? `\n• ${title}: ${result}\n` : ` ${result}\n`);
}

/**
 * Runs a command, its output in `build/logs/NAME.log`, and a sign of life for long ones.
 * @param {string} name
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ advice: string, cwd?: string, env?: NodeJS.ProcessEnv }} options
 * @returns {Promise<string>} what it printed on standard output
 */
export async function run(name, command, args, { advice, cwd = root, env = process.env }) {
  mkdirSync(logs, { recursive: true });
  const file = path.join(logs, `${name}.log`);
  const log = createWriteStream(file);
  const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let last = "";
  /** @type {string[]} */
  let tail = [];
  /** @param {Buffer} chunk */
  const read = (chunk) => {
    log.write(chunk);
    const lines = chunk
      .toString()
      .split("\n")
      .filter((it) => it.trim() !== "");
    last = lines.at(-1)?.trim() ?? last;
    tail = [...tail, ...lines].slice(-TAIL_LINES);
  };
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
    read(chunk);
  });
  child.stderr.on("data", read);
  const alive = setInterval(() => {
    isInterrupted = true;
    process.stdout.write(`\n    ${last.slice(0, 100)} ...`);
  }, REPORT_EVERY_MS);
  try {
    const code = await ended(child);
    if (code === 0) return stdout;
    const where = path.relative(root, file);
    throw new StepFailure(
      `${path.basename(command)} ${args.slice(0, 6).join(" ")} ended with ${code}\n${tail.join("\n")}`,
      `${advice} (all it printed: ${where})`,
    );
  } catch (error) {
    if (error instanceof StepFailure) throw error;
    throw new StepFailure(`${command} could not be run: ${messageOf(error)}`, advice);
  } finally {
    clearInterval(alive);
    log.end();
  }
}

/**
 * Runs a command in this terminal, as if a person had typed it.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv }} [options]
 * @returns {Promise<number>} its exit status
 */
export function show(command, args, { cwd = root, env = process.env } = {}) {
  return ended(spawn(command, args, { cwd, env, stdio: "inherit" }));
}

/**
 * The rim of each script: a failed step becomes a message and an exit status.
 * @param {() => Promise<number | void>} main
 */
export async function script(main) {
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    if (!(error instanceof StepFailure)) throw error;
    console.error(`\n${error.message}\n\nWhat to do: ${error.advice}`);
    process.exitCode = 1;
  }
}

/**
 * @param {import("node:child_process").ChildProcess} child
 * @returns {Promise<number>}
 */
function ended(child) {
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve(code ?? 1));
  });
}

/** @param {unknown} error */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
