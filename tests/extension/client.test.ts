/** The client's ends: a server that dies or never answers leaves nothing behind in the window. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type ClientOptions, startClient, stopClient } from "../../extension/src/client";
import { LanguageClient, reset, State, server } from "./languageClient";

/** The part of the editor that shows work: each title as long as its notification is up. */
const window = vi.hoisted(() => ({ notifications: new Set<string>() }));

vi.mock("vscode", () => ({
  ProgressLocation: { Notification: 15 },
  window: {
    withProgress: async (options: { title: string }, task: Task) => {
      window.notifications.add(options.title);
      await task({ report: () => {} }, { onCancellationRequested: () => {} });
      window.notifications.delete(options.title);
    },
  },
}));

vi.mock("vscode-languageclient/node", () => import("./languageClient"));

type Task = (progress: object, cancel: object) => Promise<void>;

const running: boolean[] = [];
const warnings: string[] = [];
const log = { warn: (it: string) => warnings.push(it) } as unknown as ClientOptions["log"];
const never = new AbortController().signal;
const options: ClientOptions = {
  folder: "/extension",
  python: "/python",
  worker: { path: null, trusted: true, source: "the test" },
  log,
  onStatus: () => {},
  onRunning: (it) => running.push(it),
};

beforeEach(() => {
  running.length = 0;
  warnings.length = 0;
  window.notifications.clear();
  reset();
});

const turn = () => new Promise((done) => setTimeout(done, 0));

test("a profile's notification goes with the server that dies during it", async () => {
  const client: unknown = await startClient(options, never);
  if (!(client instanceof LanguageClient)) throw new Error("not the client of this test");
  const { handleWorkDoneProgress } = client.options.middleware;
  const begin = { kind: "begin", title: "profiling Net", cancellable: true, percentage: 0 };
  handleWorkDoneProgress("1", begin, () => {});
  handleWorkDoneProgress("2", { ...begin, title: "profiling Part" }, () => {});
  expect([...window.notifications]).toEqual(["IrEne: profiling Net", "IrEne: profiling Part"]);
  handleWorkDoneProgress("2", { kind: "end" }, () => {});
  await turn();
  expect([...window.notifications]).toEqual(["IrEne: profiling Net"]);
  client.become(State.Stopped);
  await turn();
  expect([...window.notifications]).toEqual([]);
  expect(running).toEqual([true, false]);
});

test("a server that is ended on purpose is none that ended", async () => {
  const client = await startClient(options, never);
  await stopClient(client, log);
  expect([running, server.shown]).toEqual([[true], []]);
});

test("a server that does not answer when it is stopped holds nobody up", async () => {
  const client = await startClient(options, never);
  server.shutsDown = false;
  await stopClient(client, log);
  expect(warnings).toEqual(["Error: Stopping timed out"]);
});

describe("a server that never answers initialize", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    server.initializes = false;
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test("is ended after a minute, and the reason says so", async () => {
    const started = expect(startClient(options, never)).rejects.toThrow(/longer than 60 s/);
    await vi.advanceTimersByTimeAsync(59_000);
    expect(server.ends).toBe(0);
    await vi.advanceTimersByTimeAsync(1_000);
    await started;
    expect([server.ends, server.shown, running]).toEqual([1, [], []]);
  });

  test("is ended at once where its start is no longer wanted", async () => {
    const wanted = new AbortController();
    const started = expect(startClient(options, wanted.signal)).rejects.toThrow(/abort/);
    await vi.advanceTimersByTimeAsync(10);
    wanted.abort();
    await started;
    expect(server.ends).toBe(1);
  });
});
