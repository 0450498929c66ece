/** The client's ends: a server that dies or never answers leaves nothing behind in the window. */

import { beforeEach, expect, test, vi } from "vitest";
import { State } from "vscode-languageclient/node";
import { type ClientOptions, startClient } from "../../extension/src/client";

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

/** The library's client without a process: its state is what the test says. */
vi.mock("vscode-languageclient/node", () => {
  const State = { Stopped: 1, Running: 2, Starting: 3, StartFailed: 4 };
  class LanguageClient {
    state = State.Stopped;
    readonly options: Fake["options"];
    #listeners: ((change: { oldState: number; newState: number }) => void)[] = [];

    constructor(_id: string, _name: string, _server: object, options: Fake["options"]) {
      this.options = options;
    }

    onNotification(): void {}

    onDidChangeState(listener: (change: { oldState: number; newState: number }) => void): void {
      this.#listeners.push(listener);
    }

    become(newState: number): void {
      const oldState = this.state;
      this.state = newState;
      for (const listener of this.#listeners) listener({ oldState, newState });
    }

    async start(): Promise<void> {
      this.become(State.Running);
    }
  }
  return { LanguageClient, State, WorkDoneProgressCancelNotification: {} };
});

type Task = (progress: object, cancel: object) => Promise<void>;
type Handle = (token: string, work: object, next: () => void) => void;

/** What the fake has beyond the library's own. */
interface Fake {
  readonly options: { readonly middleware: { readonly handleWorkDoneProgress: Handle } };
  become(state: State): void;
}

const running: boolean[] = [];
const options: ClientOptions = {
  folder: "/extension",
  python: "/python",
  worker: { path: null, trusted: true, source: "the test" },
  log: {} as ClientOptions["log"],
  onStatus: () => {},
  onRunning: (it) => running.push(it),
};

beforeEach(() => {
  running.length = 0;
  window.notifications.clear();
});

const turn = () => new Promise((done) => setTimeout(done, 0));

test("a profile's notification goes with the server that dies during it", async () => {
  const client = (await startClient(options)) as unknown as Fake;
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
