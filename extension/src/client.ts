/** One language client over one server process: how it is started, and what it says beyond LSP. */

import * as path from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import type * as vscode from "vscode";
import { LanguageClient, type LanguageClientOptions, State } from "vscode-languageclient/node";
import {
  type InitializationOptions,
  type InterpreterParams,
  NOTIFICATIONS,
  type StatusParams,
} from "./messages";
import { ProgressNotifications } from "./progress";
import { serverLogReader } from "./serverLog";
import { unlessAborted, within } from "./waiting";

export interface ClientOptions {
  /** The extension's folder, also the server's working folder: never the workspace. */
  readonly folder: string;
  /** The interpreter that runs the server. */
  readonly python: string;
  readonly worker: InterpreterParams;
  readonly log: vscode.LogOutputChannel;
  readonly onStatus: (status: StatusParams) => void;
  /** The process ended by itself, or came back after it did. */
  readonly onRunning: (running: boolean) => void;
}

/** A server answers in a second; on a cold disk, with a virus scanner, in twenty. */
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 5_000;

/** Starts the server; rejects, and ends it, where it does not answer `initialize`. */
export async function startClient(
  options: ClientOptions,
  signal: AbortSignal,
): Promise<LanguageClient> {
  const progress = new ProgressNotifications();
  const command = {
    command: options.python,
    args: ["-I", path.join(options.folder, "extension", "start_server.py")],
    options: { cwd: options.folder },
  };
  const client = new Client("irene", "IrEne", command, clientOptions(options, progress));
  progress.attach(client);
  client.onNotification(NOTIFICATIONS.status, options.onStatus);
  client.onDidChangeState(({ oldState, newState }) => {
    if (newState === State.Stopped) progress.endAll();
    if (client.isDisposed) return;
    if (newState === State.Running) options.onRunning(true);
    if (oldState === State.Running && newState === State.Stopped) options.onRunning(false);
  });
  try {
    await unlessAborted(within(client.start(), START_LIMIT_MS, "The server's start"), signal);
    return client;
  } catch (error) {
    void stopClient(client, options.log);
    throw error;
  }
}

/** Ends the server; one that does not answer is killed, which the library does and complains of. */
export async function stopClient(
  client: LanguageClient,
  log: vscode.LogOutputChannel,
): Promise<void> {
  await client.dispose(STOP_LIMIT_MS).catch((error: unknown) => log.warn(String(error)));
}

/** Once it is disposed, what it says of its end goes to the log alone: the end was asked for. */
class Client extends LanguageClient {
  isDisposed = false;

  override dispose(timeout?: number): Promise<void> {
    this.isDisposed = true;
    return super.dispose(timeout);
  }

  override error(message: string, data?: unknown, shown?: boolean | "force"): void {
    super.error(message, data, this.isDisposed ? false : shown);
  }
}

function clientOptions(
  { worker, log }: ClientOptions,
  progress: ProgressNotifications,
): LanguageClientOptions {
  const initializationOptions: InitializationOptions = { interpreter: worker };
  return {
    documentSelector: [
      { scheme: "file", language: "python" },
      { scheme: "untitled", language: "python" },
    ],
    synchronize: { configurationSection: "irene" },
    initializationOptions,
    outputChannel: log,
    stdioOptions: { stdout: logLines, stderr: logLines },
    initializationFailedHandler: () => false,
    middleware: { handleWorkDoneProgress: progress.handle },
  };
}

function logLines(input: Readable, log: vscode.LogOutputChannel): void {
  const read = serverLogReader();
  createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY }).on("line", (line) => {
    const { level, text } = read(line);
    log[level](text);
  });
}
