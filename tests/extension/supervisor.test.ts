/** One server at a time; nothing that hangs keeps a person from a restart, or the window from closing. */

import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Surroundings } from "../../extension/src/python/choice";
import type { ServerState } from "../../extension/src/status";
import { Supervisor, type SupervisorOptions } from "../../extension/src/supervisor";
import { python } from "../../scripts/lib/python.mjs";
import { reset, server } from "./languageClient";

const settings = vi.hoisted(() => new Map<string, string>());

vi.mock("vscode", () => ({
  workspace: {
    workspaceFolders: undefined,
    getConfiguration: () => ({ get: (name: string) => settings.get(name) ?? null }),
  },
}));
vi.mock("vscode-languageclient/node", () => import("./languageClient"));

const FOUND: Surroundings = {
  platform: process.platform,
  trusted: true,
  folders: [],
  setting: null,
  environmentsExtension: null,
  pythonExtension: null,
  folderEnvironment: null,
  onPath: python,
};

let storage: string;
let states: ServerState[];
let look: () => Promise<Surroundings>;
let supervisor: Supervisor;

beforeEach(() => {
  reset();
  storage = mkdtempSync(path.join(os.tmpdir(), "irene-storage-"));
  states = [];
  look = async () => FOUND;
  settings.set("server.interpreter", python);
  const quiet = () => {};
  const options = {
    context: {
      extensionPath: storage,
      extension: { packageJSON: { version: "0.1.0" } },
      globalStorageUri: { fsPath: storage },
    },
    discovery: { look: () => look() },
    log: { info: quiet, warn: quiet, error: quiet },
    onState: (it: ServerState) => states.push(it),
    onStatus: quiet,
  };
  supervisor = new Supervisor(options as unknown as SupervisorOptions);
});

afterEach(() => rmSync(storage, { recursive: true, force: true }));

const kinds = () => states.map((it) => it.kind);

test("a server is started once, whatever is looked at again", async () => {
  await supervisor.refresh();
  await supervisor.refresh();
  expect([kinds(), server.starts]).toEqual([["starting", "running"], 1]);
});

describe("what hangs holds nobody up", () => {
  test("a search for interpreters", async () => {
    let end: ((found: Surroundings) => void) | undefined;
    look = () =>
      new Promise((done) => {
        end = done;
      });
    void supervisor.refresh();
    void supervisor.refresh();
    await vi.waitFor(() => expect(end).toBeDefined());
    look = async () => FOUND;
    await supervisor.restart();
    expect(kinds()).toEqual(["starting", "running"]);
    end?.({ ...FOUND, trusted: false });
    await new Promise((done) => setTimeout(done, 50));
    expect(supervisor.interpreters.worker).toMatchObject({ trusted: true });
    expect([kinds(), server.starts]).toEqual([["starting", "running"], 1]);
  });

  test("a server that does not answer initialize", async () => {
    server.initializes = false;
    void supervisor.refresh();
    await vi.waitFor(() => expect(server.starts).toBe(1), 15_000);
    server.initializes = true;
    await supervisor.restart();
    expect([server.starts, server.ends]).toEqual([2, 1]);
    expect(kinds()).toEqual(["starting", "starting", "running"]);
  });

  test("a server that does not answer when it is to end", async () => {
    await supervisor.refresh();
    server.shutsDown = false;
    await supervisor.restart();
    expect(kinds()).toEqual(["starting", "running", "starting", "running"]);
  });

  test("the end of the window", async () => {
    look = () => new Promise(() => {});
    void supervisor.refresh();
    await supervisor.stop();
    expect([kinds(), server.starts]).toEqual([[], 0]);
  });
});
