/** What other extensions say of interpreters, also where they say it late or never. */

import path from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { InterpreterDiscovery } from "../../extension/src/python/discovery";

const ENVIRONMENT = path.resolve("/environments/one/bin/python");

/** The Python Environments extension; `answer` ends the questions that wait. */
const other = vi.hoisted(() => ({
  questions: 0,
  answer: (_executable: string | null) => {},
  fail: () => {},
}));

vi.mock("vscode", () => {
  class EventEmitter {
    #listeners: (() => void)[] = [];
    readonly event = (listener: () => void) => this.#listeners.push(listener);
    fire(): void {
      for (const listener of this.#listeners) listener();
    }
  }
  const getEnvironment = () => {
    other.questions += 1;
    return new Promise((done, failed) => {
      other.fail = () => failed(new Error("broken"));
      other.answer = (executable) =>
        done(executable === null ? undefined : { execInfo: { run: { executable } } });
    });
  };
  const found = { isActive: true, exports: { getEnvironment } };
  return {
    EventEmitter,
    extensions: {
      getExtension: (id: string) => (id.endsWith("python-envs") ? found : undefined),
    },
    workspace: { isTrusted: true, workspaceFolders: undefined },
  };
});

let discovery: InterpreterDiscovery;
let changes: number;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  discovery = new InterpreterDiscovery();
  changes = 0;
  discovery.onDidChange(() => {
    changes += 1;
  });
  other.questions = 0;
});

afterEach(() => {
  vi.useRealTimers();
});

/** Looks, and calls `then` once the other extension was asked. */
async function look(then: () => unknown): Promise<string | null> {
  const asked = other.questions + 1;
  const looking = discovery.look(undefined, null);
  await vi.waitUntil(() => other.questions === asked);
  await then();
  return (await looking).environmentsExtension;
}

const tooLong = () => vi.advanceTimersByTimeAsync(6_000);

test("an answer in time counts, and none counts as none", async () => {
  expect(await look(() => other.answer(ENVIRONMENT))).toBe(ENVIRONMENT);
  expect(await look(() => other.answer(null))).toBeNull();
  expect(changes).toBe(0);
});

test("an extension that never answers, or fails, is passed over", async () => {
  expect(await look(tooLong)).toBeNull();
  expect(await look(() => other.fail())).toBeNull();
  expect(changes).toBe(0);
});

test("a late answer is told once, and counts while the next one takes long too", async () => {
  expect(await look(tooLong)).toBeNull();
  other.answer(ENVIRONMENT);
  await vi.waitUntil(() => changes === 1);
  expect(await look(tooLong)).toBe(ENVIRONMENT);
  other.answer(ENVIRONMENT);
  await vi.advanceTimersByTimeAsync(0);
  expect(changes).toBe(1);
});
