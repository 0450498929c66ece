/** Asks an interpreter, by running it, for its version and whether it can run IrEne's server. */

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Interpreter, Probe, Probed } from "./choice";

const run = promisify(execFile);
const LIMIT_MS = 15_000;

// Finding the packages takes 50 ms, importing them half a second.
const QUESTION = `
import json, sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
try:
    server = version("irene-energy")
except PackageNotFoundError:
    server = None
if not all(find_spec(name) for name in ("irene", "irene_server", "pygls", "libcst")):
    server = None
print(json.dumps([sys.version_info[0], sys.version_info[1], server]))
`;

/** `folder` is the working folder: the extension's own, so that nothing of the workspace is imported. */
export async function probe(interpreter: Interpreter, folder: string): Promise<Probed> {
  return { interpreter, probe: await ask(interpreter.path, folder) };
}

async function ask(python: string, folder: string): Promise<Probe> {
  try {
    const limit = { timeout: LIMIT_MS, killSignal: "SIGKILL" } as const;
    const options = { cwd: folder, windowsHide: true, ...limit };
    const { stdout } = await run(python, ["-I", "-c", QUESTION], options);
    return parseAnswer(stdout);
  } catch (error) {
    return { kind: "broken", reason: `it does not run (${firstLine(error)})` };
  }
}

export function parseAnswer(stdout: string): Probe {
  const lines = stdout.trim().split(/\r?\n/);
  try {
    const answer: unknown = JSON.parse(lines.at(-1) ?? "");
    if (isAnswer(answer)) {
      return { kind: "python", version: [answer[0], answer[1]], server: answer[2] };
    }
  } catch {
    // Not JSON: said below, with what it printed.
  }
  return { kind: "broken", reason: `it does not answer as Python does ("${lines.at(-1) ?? ""}")` };
}

function isAnswer(value: unknown): value is [number, number, string | null] {
  return (
    Array.isArray(value) &&
    typeof value[0] === "number" &&
    typeof value[1] === "number" &&
    (value[2] === null || typeof value[2] === "string")
  );
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split("\n").find((line) => line.trim() !== "") ?? "no reason given";
}
