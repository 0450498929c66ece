/**
 * Keeps one server running in the right interpreter. Changes are handled one after the other, and
 * the process is started anew only when its own interpreter changed or a person asks for it. That,
 * and the end, wait for no other change: what hangs is left behind, and does nothing any more.
 */

import * as fs from "node:fs/promises";
import * as path from "node:path";
import * as vscode from "vscode";
import type { LanguageClient } from "vscode-languageclient/node";
import { type ClientOptions, startClient, stopClient } from "./client";
import { type InterpreterParams, NOTIFICATIONS, type StatusParams } from "./messages";
import {
  chooseServer,
  chooseWorker,
  type Interpreter,
  mayRun,
  type Probed,
  type ServerChoice,
  type Surroundings,
} from "./python/choice";
import { type InterpreterDiscovery, locate, pythonsOnPath } from "./python/discovery";
import {
  anyOwnEnvironment,
  findOwnEnvironment,
  makeOwnEnvironment,
  type OwnEnvironmentOptions,
} from "./python/ownEnvironment";
import { probe } from "./python/probe";
import { interpreterSettings } from "./settings";
import type { ServerState } from "./status";
import { unlessAborted, within } from "./waiting";

export interface SupervisorOptions {
  readonly context: vscode.ExtensionContext;
  readonly discovery: InterpreterDiscovery;
  readonly log: vscode.LogOutputChannel;
  readonly onState: (state: ServerState) => void;
  readonly onStatus: (status: StatusParams) => void;
}

interface Running {
  readonly client: LanguageClient;
  readonly python: Interpreter;
  /** What the choice of `python` came from: while it is the same, nobody is asked again. */
  readonly basis: string;
}

/** A notification is written at once, but to a pipe that a server which hangs does not empty. */
const SEND_LIMIT_MS = 5_000;

export class Supervisor {
  readonly #options: SupervisorOptions;
  #queue: Promise<void> = Promise.resolve();
  /** Ends the steps that are in the queue. */
  #steps = new AbortController();
  #running: Running | null = null;
  #worker: InterpreterParams | null = null;
  #state: ServerState = { kind: "starting" };

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  get client(): LanguageClient | null {
    return this.#running?.client ?? null;
  }

  get state(): ServerState {
    return this.#state;
  }

  /** Which interpreters are in use, for reports. */
  get interpreters(): {
    readonly server: Interpreter | null;
    readonly worker: InterpreterParams | null;
  } {
    return { server: this.#running?.python ?? null, worker: this.#worker };
  }

  /** Looks again at everything that the interpreters depend on, and acts on what changed. */
  refresh(): Promise<void> {
    return this.#enqueue((signal) => this.#apply(signal));
  }

  restart(): Promise<void> {
    this.#clear();
    return this.#enqueue(async (signal) => {
      await this.#stop();
      await this.#apply(signal);
    });
  }

  stop(): Promise<void> {
    this.#clear();
    return this.#enqueue(() => this.#stop());
  }

  /** Each step looks at its signal before it changes anything: it may have been left behind. */
  #enqueue(step: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { signal } = this.#steps;
    this.#queue = this.#queue.then(async () => {
      if (signal.aborted) return;
      try {
        await unlessAborted(step(signal), signal);
      } catch (error) {
        if (!signal.aborted) await this.#fail(error);
      }
    });
    return this.#queue;
  }

  #clear(): void {
    this.#steps.abort();
    this.#steps = new AbortController();
  }

  /** Without an interpreter that was chosen rightly, no server of an earlier choice goes on. */
  async #fail(error: unknown): Promise<void> {
    const { log } = this.#options;
    log.error(error instanceof Error ? (error.stack ?? error.message) : String(error));
    await this.#stop().catch((again: unknown) => log.error(String(again)));
    const reason = error instanceof Error ? error.message : String(error);
    this.#setState({ kind: "failed", reason });
  }

  async #apply(signal: AbortSignal): Promise<void> {
    const folder = vscode.workspace.workspaceFolders?.[0];
    const settings = interpreterSettings(folder);
    const found = await this.#options.discovery.look(folder, settings.worker);
    const setting = await locate(settings.server);
    signal.throwIfAborted();
    const worker = chooseWorker(found);
    const changed = this.#noteWorker(worker, found.trusted);
    const basis = JSON.stringify([setting, worker?.path]);
    if (this.#running?.basis !== basis) {
      const python = await this.#serverInterpreter(setting, worker, found, signal);
      signal.throwIfAborted();
      if (this.#running?.python.path !== python.path) {
        await this.#stop();
        signal.throwIfAborted();
        await this.#start(python, basis, signal);
        return;
      }
      this.#running = { ...this.#running, basis };
    }
    if (changed && this.#worker !== null) {
      const told = this.#running.client.sendNotification(NOTIFICATIONS.interpreter, this.#worker);
      await within(told, SEND_LIMIT_MS, "Telling the server its interpreter");
    }
  }

  #noteWorker(worker: Interpreter | null, trusted: boolean): boolean {
    const source = worker?.source ?? "none found";
    const params = { path: worker?.path ?? null, trusted, source };
    const changed = JSON.stringify(params) !== JSON.stringify(this.#worker);
    if (changed) this.#options.log.info(`Worker's interpreter: ${JSON.stringify(params)}`);
    this.#worker = params;
    return changed;
  }

  async #serverInterpreter(
    setting: string | null,
    worker: Interpreter | null,
    found: Surroundings,
    signal: AbortSignal,
  ): Promise<Interpreter> {
    const choice = await this.#chooseServer(setting, worker, found);
    switch (choice.kind) {
      case "use":
        return choice.interpreter;
      case "make":
        return this.#ownEnvironment(choice.bases, signal);
      case "none":
        throw new Error(choice.reason);
      default:
        return choice satisfies never;
    }
  }

  async #chooseServer(
    setting: string | null,
    worker: Interpreter | null,
    found: Surroundings,
  ): Promise<ServerChoice> {
    const { extensionPath, extension } = this.#options.context;
    const ask = (it: Interpreter): Promise<Probed> => probe(it, extensionPath);
    const version = String((extension.packageJSON as { version: unknown }).version);
    if (setting !== null && !mayRun(setting, found)) {
      return { kind: "none", reason: `${setting} lies in a folder that is not trusted.` };
    }
    if (setting !== null) {
      const named = await ask({ path: setting, source: "setting irene.server.interpreter" });
      return chooseServer(named, null, [], version);
    }
    const asked = worker === null ? null : await ask(worker);
    const first = chooseServer(null, asked, [], version);
    if (first.kind === "use") return first;
    const others = (await pythonsOnPath()).filter((it) => mayRun(it, found) && it !== worker?.path);
    const bases = await Promise.all(others.map((it) => ask({ path: it, source: "PATH" })));
    return chooseServer(null, asked, bases, version);
  }

  async #ownEnvironment(bases: readonly Interpreter[], signal: AbortSignal): Promise<Interpreter> {
    const options = await this.#environmentOptions(signal);
    const ready = await findOwnEnvironment(options);
    if (ready !== null) return ready;
    signal.throwIfAborted();
    this.#setState({ kind: "installing" });
    try {
      return await makeOwnEnvironment(bases, options);
    } catch (error) {
      const earlier = await anyOwnEnvironment(options.storage);
      if (earlier === null) throw error;
      options.log(`${String(error)} The earlier environment stays in use.`);
      return earlier;
    }
  }

  async #environmentOptions(signal: AbortSignal): Promise<OwnEnvironmentOptions> {
    const { context, log } = this.#options;
    const dist = path.join(context.extensionPath, "dist");
    const wheel = (await fs.readdir(dist)).find((it) => it.endsWith(".whl"));
    if (wheel === undefined) {
      throw new Error(
        "This build of the extension carries no wheel: name an interpreter with irene-energy[server] in irene.server.interpreter.",
      );
    }
    return {
      storage: context.globalStorageUri.fsPath,
      wheel: path.join(dist, wheel),
      folder: context.extensionPath,
      signal,
      log: (line) => log.info(line),
    };
  }

  async #start(python: Interpreter, basis: string, signal: AbortSignal): Promise<void> {
    const { context, log, onStatus } = this.#options;
    if (this.#worker === null) return;
    log.info(`Server's interpreter: ${python.path} (${python.source})`);
    this.#setState({ kind: "starting" });
    const options: ClientOptions = {
      folder: context.extensionPath,
      python: python.path,
      worker: this.#worker,
      log,
      onStatus,
      onRunning: (running) => {
        this.#setState(running ? { kind: "running" } : ended(python));
      },
    };
    const client = await startClient(options, signal);
    this.#running = { client, python, basis };
  }

  async #stop(): Promise<void> {
    const running = this.#running;
    this.#running = null;
    if (running !== null) await stopClient(running.client, this.#options.log);
  }

  #setState(state: ServerState): void {
    this.#state = state;
    this.#options.onState(state);
  }
}

function ended(python: Interpreter): ServerState {
  return {
    kind: "failed",
    reason: `The server (${path.basename(python.path)}) ended. "IrEne: Restart server" starts it again.`,
  };
}
