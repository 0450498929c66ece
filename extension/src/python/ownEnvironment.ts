/**
 * The server's own environment: a virtual environment under the extension's storage, made from the
 * wheel that the extension carries. Each attempt has a folder of its own and counts only once its
 * stamp is written, so a failed or interrupted one leaves the last good environment working.
 */

import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import * as fs from "node:fs/promises";
import * as path from "node:path";
import type { Interpreter } from "./choice";
import { environmentPythons } from "./paths";

export interface OwnEnvironmentOptions {
  /** The extension's storage; environments lie in `environments` below it. */
  readonly storage: string;
  readonly wheel: string;
  /** Working folder of the commands: never the workspace. */
  readonly folder: string;
  /** Ends what runs. */
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

const STAMP = "complete";
/** Of each command: a slow network is waited for, a stuck one is not. */
const LIMIT_MS = 600_000;
const SOURCE = "IrEne's own environment";

/** The newest environment that was made from exactly this wheel. */
export async function findOwnEnvironment(
  options: OwnEnvironmentOptions,
): Promise<Interpreter | null> {
  const key = await keyOf(options.wheel);
  const found = await completeEnvironments(options.storage);
  const current = found.find((it) => path.basename(it.folder).startsWith(key));
  return current === undefined ? null : { path: current.python, source: SOURCE };
}

/** Makes an environment from the first base that can; the error names what failed and what to do. */
export async function makeOwnEnvironment(
  bases: readonly Interpreter[],
  options: OwnEnvironmentOptions,
): Promise<Interpreter> {
  const failures: string[] = [];
  for (const base of bases) {
    try {
      return await makeFrom(base, options);
    } catch (error) {
      if (options.signal.aborted) throw error;
      failures.push(error instanceof Error ? error.message : String(error));
      options.log(failures.at(-1) ?? "");
    }
  }
  throw new Error(
    `IrEne's Python environment could not be made: ${failures.join("; ")}. ` +
      "The log has all that was printed. Or name an interpreter with irene-energy[server] in irene.server.interpreter.",
  );
}

/** An environment of an earlier release, for when a new one cannot be made. */
export async function anyOwnEnvironment(storage: string): Promise<Interpreter | null> {
  const newest = (await completeEnvironments(storage))[0];
  return newest === undefined ? null : { path: newest.python, source: `${SOURCE} (earlier)` };
}

async function makeFrom(base: Interpreter, options: OwnEnvironmentOptions): Promise<Interpreter> {
  const name = `${await keyOf(options.wheel)}-${randomBytes(4).toString("hex")}`;
  const folder = path.join(options.storage, "environments", name);
  try {
    await fs.mkdir(path.dirname(folder), { recursive: true });
    await run(base.path, ["-I", "-m", "venv", folder], options);
    const python = await pythonOf(folder);
    if (python === null) throw new Error(`${base.path} made a venv without an interpreter`);
    const pip = ["-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"];
    await run(python, [...pip, `${options.wheel}[server]`], options);
    await fs.writeFile(path.join(folder, STAMP), `${base.path}\n`);
    return { path: python, source: SOURCE };
  } catch (error) {
    // What the command had started may still be writing.
    await fs.rm(folder, { recursive: true, force: true, maxRetries: 5 });
    throw error;
  }
}

async function completeEnvironments(
  storage: string,
): Promise<readonly { readonly folder: string; readonly python: string }[]> {
  const root = path.join(storage, "environments");
  const names = await fs.readdir(root).catch(() => []);
  const found = await Promise.all(
    names.map(async (name) => {
      const folder = path.join(root, name);
      const stamp = await fs.stat(path.join(folder, STAMP)).catch(() => null);
      const python = stamp === null ? null : await pythonOf(folder);
      return stamp === null || python === null ? [] : [{ folder, python, made: stamp.mtimeMs }];
    }),
  );
  return found.flat().sort((a, b) => b.made - a.made);
}

async function pythonOf(folder: string): Promise<string | null> {
  for (const file of environmentPythons(folder, process.platform)) {
    // A link to an interpreter that was removed since does not count.
    if ((await fs.stat(file).catch(() => null)) !== null) return file;
  }
  return null;
}

async function keyOf(wheel: string): Promise<string> {
  return createHash("sha256")
    .update(await fs.readFile(wheel))
    .digest("hex")
    .slice(0, 16);
}

function run(
  command: string,
  args: readonly string[],
  { folder, signal, log }: OwnEnvironmentOptions,
): Promise<void> {
  log(`> ${command} ${args.join(" ")}`);
  const what = `${path.basename(command)} ${args.join(" ")}`;
  const limit = AbortSignal.timeout(LIMIT_MS);
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: folder,
      windowsHide: true,
      signal: AbortSignal.any([signal, limit]),
      killSignal: "SIGKILL",
    });
    let last = "";
    const read = (chunk: Buffer) => {
      for (const line of chunk.toString().split(/\r?\n/).filter(Boolean)) {
        last = line;
        log(line);
      }
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", (error) => {
      reject(
        limit.aborted ? new Error(`${what} took longer than ${LIMIT_MS / 60_000} min`) : error,
      );
    });
    child.on("close", (code) => {
      if (code === 0) resolve();
      else reject(new Error(`${what} failed (${last})`));
    });
  });
}
