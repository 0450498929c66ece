/** The settings that the extension itself reads and writes; the server pulls its own. */

import * as os from "node:os";
import * as vscode from "vscode";
import { expandPath } from "./python/paths";

/** Both interpreters as a person set them; `null` where nothing is set. */
export interface InterpreterSettings {
  readonly worker: string | null;
  readonly server: string | null;
}

export function interpreterSettings(
  folder: vscode.WorkspaceFolder | undefined,
): InterpreterSettings {
  const settings = vscode.workspace.getConfiguration("irene", folder?.uri);
  const context = {
    home: os.homedir(),
    folder: folder?.uri.fsPath ?? null,
    env: process.env,
    platform: process.platform,
  };
  return {
    worker: expandPath(settings.get<string | null>("interpreter", null), context),
    server: expandPath(settings.get<string | null>("server.interpreter", null), context),
  };
}

export function changesInterpreter(event: vscode.ConfigurationChangeEvent): boolean {
  return (
    event.affectsConfiguration("irene.interpreter") ||
    event.affectsConfiguration("irene.server.interpreter")
  );
}

/** Writes a setting of the folder where `uri` is in one, else of the user. */
export async function writeChoice(
  setting: "device" | "predictor",
  value: string,
  uri: vscode.Uri | undefined,
): Promise<void> {
  const inFolder = uri !== undefined && vscode.workspace.getWorkspaceFolder(uri) !== undefined;
  const target = inFolder
    ? vscode.ConfigurationTarget.Workspace
    : vscode.ConfigurationTarget.Global;
  await vscode.workspace.getConfiguration("irene", uri).update(setting, value, target);
}
