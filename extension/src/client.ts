/** One language client over one server process: how it is started, and what it says beyond LSP. */

import * as path from "node:path";
import type * as vscode from "vscode";
import { LanguageClient, type LanguageClientOptions, State } from "vscode-languageclient/node";
import {
  type InitializationOptions,
  type InterpreterParams,
  NOTIFICATIONS,
  type StatusParams,
} from "./messages";
import { ProgressNotifications } from "./progress";

export interface ClientOptions {
  /** The extension's folder, also the server's working folder: never the workspace. */
  readonly folder: string;
  /** The interpreter that runs the server. */
  readonly python: string;
  readonly worker: InterpreterParams;
  readonly log: vscode.LogOutputChannel;
  readonly onStatus: (status: StatusParams) => void;
  /** The process ended, or came back after it did. */
  readonly onRunning: (running: boolean) => void;
}

const STOP_LIMIT_MS = 5_000;

/** Starts the server; rejects where it does not answer `initialize`. */
export async function startClient(options: ClientOptions): Promise<LanguageClient> {
  const progress = new ProgressNotifications();
  const command = {
    command: options.python,
    args: ["-I", path.join(options.folder, "extension", "start_server.py")],
    options: { cwd: options.folder },
  };
  const client = new LanguageClient("irene", "IrEne", command, clientOptions(options, progress));
  progress.attach(client);
  client.onNotification(NOTIFICATIONS.status, options.onStatus);
  client.onDidChangeState(({ oldState, newState }) => {
    if (newState === State.Stopped) progress.endAll();
    if (newState === State.Running) options.onRunning(true);
    if (oldState === State.Running && newState === State.Stopped) options.onRunning(false);
  });
  await client.start();
  return client;
}

/** Ends the server, also one that does not answer. */
export async function stopClient(client: LanguageClient): Promise<void> {
  await client.dispose(STOP_LIMIT_MS);
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
    initializationFailedHandler: () => false,
    middleware: { handleWorkDoneProgress: progress.handle },
  };
}
