/** Shows the status of the document in front, and tells menus whether it has modules. */

import * as vscode from "vscode";
import type { StatusParams } from "./messages";
import { type ServerState, statusItem } from "./status";

export class StatusBar implements vscode.Disposable {
  readonly #item = vscode.window.createStatusBarItem("irene", vscode.StatusBarAlignment.Right, 100);
  readonly #documents = new Map<string, StatusParams>();
  readonly #subscriptions: readonly vscode.Disposable[];
  #server: ServerState = { kind: "starting" };
  #whole: StatusParams | null = null;

  constructor() {
    this.#item.name = "IrEne";
    this.#subscriptions = [
      vscode.window.onDidChangeActiveTextEditor(() => this.#show()),
      vscode.workspace.onDidCloseTextDocument((it) => this.#documents.delete(it.uri.toString())),
    ];
  }

  dispose(): void {
    this.#item.dispose();
    for (const subscription of this.#subscriptions) subscription.dispose();
  }

  setServer(state: ServerState): void {
    this.#server = state;
    if (state.kind !== "running") {
      this.#documents.clear();
      this.#whole = null;
    }
    this.#show();
  }

  setStatus(status: StatusParams): void {
    if (status.uri === null) this.#whole = status;
    else this.#documents.set(vscode.Uri.parse(status.uri).toString(), status);
    this.#show();
  }

  #show(): void {
    const document = vscode.window.activeTextEditor?.document;
    const status = this.#documents.get(document?.uri.toString() ?? "") ?? null;
    const item = statusItem({
      isPython: document?.languageId === "python",
      trusted: vscode.workspace.isTrusted,
      server: this.#server,
      document: status,
      whole: this.#whole,
    });
    const hasModules = status !== null && status.text !== "";
    void vscode.commands.executeCommand("setContext", "irene.hasModules", hasModules);
    if (item === null) {
      this.#item.hide();
      return;
    }
    this.#item.text = item.text;
    this.#item.tooltip = new vscode.MarkdownString(item.tooltip);
    this.#item.command = item.command;
    this.#item.show();
  }
}
