/** Which interpreter runs what. */

import { describe, expect, test } from "vitest";
import {
  chooseServer,
  chooseWorker,
  type Probe,
  type Probed,
  type Surroundings,
  workerCandidates,
} from "../../extension/src/python/choice";

const NOTHING: Surroundings = {
  platform: "linux",
  trusted: true,
  folders: ["/home/me/net"],
  setting: null,
  environmentsExtension: null,
  pythonExtension: null,
  folderEnvironment: null,
  onPath: null,
};

const ALL: Surroundings = {
  ...NOTHING,
  setting: "/opt/set/bin/python",
  environmentsExtension: "/opt/envs/bin/python",
  pythonExtension: "/opt/ms/bin/python",
  folderEnvironment: "/home/me/net/.venv/bin/python",
  onPath: "/usr/bin/python3",
};

const python = (server: string | null, version: [number, number] = [3, 11]): Probe => ({
  kind: "python",
  version,
  server,
});
const probed = (path: string, probe: Probe): Probed => ({
  interpreter: { path, source: "test" },
  probe,
});

describe("the worker's interpreter", () => {
  test("is the setting, the two extensions, the folder's environment, the PATH, in that order", () => {
    expect(workerCandidates(ALL).map((it) => it.path)).toEqual([
      "/opt/set/bin/python",
      "/opt/envs/bin/python",
      "/opt/ms/bin/python",
      "/home/me/net/.venv/bin/python",
      "/usr/bin/python3",
    ]);
    expect(chooseWorker(ALL)?.source).toBe("setting irene.interpreter");
  });

  test("is none where nothing is found", () => {
    expect(chooseWorker(NOTHING)).toBeNull();
  });

  test.each([
    ["linux", "/home/me/net/.venv/bin/python", "/home/me/net"],
    ["win32", "C:\\net\\.venv\\Scripts\\python.exe", "C:\\net"],
  ] as const)("of an untrusted folder does not count on %s", (platform, path, folder) => {
    const found: Surroundings = {
      ...NOTHING,
      platform,
      trusted: false,
      folders: [folder],
      pythonExtension: path,
      onPath: "/usr/bin/python3",
    };
    expect(chooseWorker(found)?.path).toBe("/usr/bin/python3");
  });
});

describe("the server's interpreter", () => {
  test("is the setting where it has the server, and never another one in silence", () => {
    const good = probed("/s/python", python("0.1.0"));
    const bare = probed("/s/python", python(null));
    expect(chooseServer(good, null, [], "0.1.0")).toMatchObject({ kind: "use" });
    expect(chooseServer(bare, good, [], "0.1.0")).toMatchObject({
      kind: "none",
      reason: expect.stringContaining("irene.server.interpreter is /s/python"),
    });
  });

  test("is the worker's where that serves this release", () => {
    const worker = probed("/w/python", python("0.1.3"));
    expect(chooseServer(null, worker, [], "0.1.0")).toEqual({
      kind: "use",
      interpreter: worker.interpreter,
    });
  });

  test.each([
    ["lacks the server", python(null)],
    ["has another release", python("0.2.0")],
  ])("is an environment of our own where the worker's %s", (_, probe) => {
    const worker = probed("/w/python", probe);
    expect(chooseServer(null, worker, [], "0.1.0")).toEqual({
      kind: "make",
      bases: [worker.interpreter],
    });
  });

  test("is none, with what to do, where every Python is too old or broken", () => {
    const old = probed("/o/python", python(null, [3, 9]));
    const broken = probed("/b/python", { kind: "broken", reason: "it does not start" });
    expect(chooseServer(null, old, [broken], "0.1.0")).toMatchObject({
      kind: "none",
      reason: expect.stringContaining("3.10"),
    });
  });
});
