/** The server's own environment: a half-made one never counts, an earlier one stays. */

import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  anyOwnEnvironment,
  findOwnEnvironment,
  makeOwnEnvironment,
  type OwnEnvironmentOptions,
} from "../../extension/src/python/ownEnvironment";
import { environmentPythons } from "../../extension/src/python/paths";
import { probe } from "../../extension/src/python/probe";
import { python } from "../../scripts/lib/python.mjs";

const BASE = { path: python, source: "the checkout" };
let storage: string;
let options: OwnEnvironmentOptions;
let printed: string[];
let wanted: AbortController;

beforeEach(() => {
  storage = mkdtempSync(path.join(os.tmpdir(), "irene-storage-"));
  const wheel = path.join(storage, "irene_energy-0.1.0-py3-none-any.whl");
  writeFileSync(wheel, "this is no wheel");
  printed = [];
  wanted = new AbortController();
  const { signal } = wanted;
  options = { storage, wheel, folder: storage, signal, log: (line) => printed.push(line) };
});

afterEach(() => rmSync(storage, { recursive: true, force: true }));

/** An environment as an earlier release left it; without a stamp, as an interrupted one did. */
function leaveEnvironment(name: string, isComplete: boolean): string {
  const folder = path.join(storage, "environments", name);
  const [file = ""] = environmentPythons(folder, process.platform);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, "");
  if (isComplete) writeFileSync(path.join(folder, "complete"), "");
  return file;
}

describe("an install that fails", () => {
  test("says what failed and what to do, logs all, and leaves nothing half-made", async () => {
    const attempt = makeOwnEnvironment([BASE], options);
    await expect(attempt).rejects.toThrow(
      /could not be made: .* failed \(.*\)\. The log .* irene\.server\.interpreter/,
    );
    expect(printed[0]).toContain("-m venv");
    expect(readdirSync(path.join(storage, "environments"))).toEqual([]);
  }, 120_000);

  test("leaves the earlier environment in use", async () => {
    const earlier = leaveEnvironment("0123456789abcdef-01234567", true);
    await expect(makeOwnEnvironment([BASE], options)).rejects.toThrow();
    expect(existsSync(earlier)).toBe(true);
    expect(await findOwnEnvironment(options)).toBeNull();
    expect((await anyOwnEnvironment(storage))?.path).toBe(earlier);
  }, 120_000);

  test("names each base that could not make one", async () => {
    const bases = ["/no/python-a", "/no/python-b"].map((it) => ({ path: it, source: "PATH" }));
    await expect(makeOwnEnvironment(bases, options)).rejects.toThrow(/python-a.*python-b/);
  });
});

test("a command that hangs is killed when the environment is no longer wanted", async () => {
  const stuck = path.join(storage, "stuck");
  const file = path.join(storage, "pid");
  writeFileSync(stuck, `#!/bin/sh\necho $$ > "${file}"\necho hangs\nexec sleep 600\n`);
  chmodSync(stuck, 0o755);
  const bases = [{ path: stuck, source: "PATH" }, BASE];
  const attempt = expect(makeOwnEnvironment(bases, options)).rejects.toThrow(/abort/);
  await vi.waitFor(() => expect(printed).toContain("hangs"), 10_000);
  wanted.abort();
  await attempt;
  const pid = Number(readFileSync(file, "utf8"));
  await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow(), 10_000);
  expect(readdirSync(path.join(storage, "environments"))).toEqual([]);
});

test("an interrupted environment does not count", async () => {
  leaveEnvironment("0123456789abcdef-01234567", false);
  expect(await anyOwnEnvironment(storage)).toBeNull();
});

describe("an interpreter that is asked what it can", () => {
  test("tells its version and the server that it has", async () => {
    const { probe: answer } = await probe(BASE, storage);
    expect(answer).toMatchObject({ kind: "python", server: expect.stringMatching(/^\d+\.\d+/) });
  });

  test("is broken where it does not run, or answers something else", async () => {
    const missing = await probe({ path: "/no/python", source: "setting" }, storage);
    expect(missing.probe).toMatchObject({ kind: "broken" });
    const other = await probe({ path: process.execPath, source: "setting" }, storage);
    expect(other.probe).toMatchObject({ kind: "broken" });
  });

  test("imports nothing from the folder in which it is asked", async () => {
    const mark = path.join(storage, "ran");
    for (const name of ["json.py", "irene.py", "pygls.py"]) {
      writeFileSync(path.join(storage, name), `open(${JSON.stringify(mark)}, "w").close()\n`);
    }
    const { probe: answer } = await probe(BASE, storage);
    expect(answer.kind).toBe("python");
    expect(existsSync(mark)).toBe(false);
  });
});
