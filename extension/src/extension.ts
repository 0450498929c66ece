/** Entry of the extension: wires the parts, and follows what their state depends on. */

import * as vscode from "vscode";
import { registerCommands } from "./commands";
import { InterpreterDiscovery } from "./python/discovery";
import { changesInterpreter } from "./settings";
import { StatusBar } from "./statusBar";
import { Supervisor } from "./supervisor";

let supervisor: Supervisor | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel("IrEne", { log: true });
  const status = new StatusBar();
  const discovery = new InterpreterDiscovery();
  const server = new Supervisor({
    context,
    discovery,
    log,
    onState: (state) => status.setServer(state),
    onStatus: (it) => status.setStatus(it),
  });
  supervisor = server;
  const refresh = () => void server.refresh();
  context.subscriptions.push(
    log,
    status,
    discovery,
    discovery.onDidChange(refresh),
    // The grant comes up to 0.1 s before the settings that it makes count: both are followed.
    vscode.workspace.onDidGrantWorkspaceTrust(refresh),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (changesInterpreter(event)) refresh();
    }),
    vscode.workspace.onDidChangeWorkspaceFolders(refresh),
    vscode.extensions.onDidChange(refresh),
  );
  registerCommands(context, server, log);
  refresh();
}

export async function deactivate(): Promise<void> {
  await supervisor?.stop();
}
