/** The commands of the palette and of lenses: each asks the server and shows its answer. */

import * as vscode from "vscode";
import {
  type Choice,
  type DevicesAnswer,
  type DocumentParams,
  LENS_COMMANDS,
  type PredictorsAnswer,
  type ProfileAnswer,
  REQUESTS,
  SERVER_COMMANDS,
  type TargetChoice,
} from "./messages";
import { environmentReport } from "./report";
import { writeChoice } from "./settings";
import type { Supervisor } from "./supervisor";

export function registerCommands(
  context: vscode.ExtensionContext,
  supervisor: Supervisor,
  log: vscode.LogOutputChannel,
): void {
  const actor = new Actions(supervisor, context);
  const commands: Readonly<Record<string, (...args: unknown[]) => Promise<void> | void>> = {
    [LENS_COMMANDS.profile]: (uri, className) => actor.profile(text(uri), text(className)),
    [LENS_COMMANDS.selectTarget]: (uri) => actor.selectTarget(text(uri)),
    [LENS_COMMANDS.switchDevice]: (device) => actor.switchDevice(text(device)),
    [LENS_COMMANDS.manageTrust]: () => run("workbench.trust.manage"),
    "irene.selectDevice": () => actor.selectDevice(),
    "irene.selectPredictor": () => actor.selectPredictor(),
    "irene.restartServer": () => supervisor.restart(),
    "irene.showLogs": () => log.show(),
    "irene.reportEnvironment": () => actor.reportEnvironment(),
  };
  for (const [id, action] of Object.entries(commands)) {
    context.subscriptions.push(
      vscode.commands.registerCommand(id, async (...args: unknown[]) => {
        try {
          await action(...args);
        } catch (error) {
          await showFailure(error, log);
        }
      }),
    );
  }
}

class Actions {
  readonly #supervisor: Supervisor;
  readonly #context: vscode.ExtensionContext;

  constructor(supervisor: Supervisor, context: vscode.ExtensionContext) {
    this.#supervisor = supervisor;
    this.#context = context;
  }

  async profile(uri = activeUri(), className?: string): Promise<void> {
    if (uri === undefined) throw new Error("Open the Python file whose model is to be profiled.");
    const answer = await this.#request<ProfileAnswer | null>("workspace/executeCommand", {
      command: SERVER_COMMANDS.profile,
      arguments: [uri, className ?? null],
    });
    if (answer !== null) vscode.window.setStatusBarMessage(`IrEne: ${answer.summary}`, 10_000);
  }

  async selectTarget(uri = activeUri()): Promise<void> {
    if (uri === undefined) throw new Error("Open a Python file that defines a model.");
    const choices = await this.#request<readonly TargetChoice[]>(REQUESTS.targets, { uri });
    if (choices.length === 0) throw new Error("This file defines no class that is an nn.Module.");
    const items = choices.map((it) => ({
      label: it.className,
      detail: it.detail,
      ...(it.selected && { description: "selected" }),
    }));
    const placeHolder = "The model that shares and totals of this file stand for";
    const picked = await vscode.window.showQuickPick(items, { placeHolder });
    if (picked === undefined) return;
    await this.#request<null>(REQUESTS.setTarget, { uri, className: picked.label });
  }

  async selectDevice(): Promise<void> {
    const params: DocumentParams = { uri: activeUri() ?? null };
    const answer = await this.#request<DevicesAnswer>(REQUESTS.devices, params);
    const placeHolder = "The device that energies are computed for";
    await choose("device", answer.devices, answer, placeHolder);
  }

  async selectPredictor(): Promise<void> {
    const params: DocumentParams = { uri: activeUri() ?? null };
    const answer = await this.#request<PredictorsAnswer>(REQUESTS.predictors, params);
    const placeHolder =
      "What predicts energies; a predictor speaks for the machine it was fitted to";
    await choose("predictor", answer.predictors, answer, placeHolder);
  }

  async switchDevice(device: string | undefined): Promise<void> {
    if (device === undefined) await this.selectDevice();
    else await writeChoice("device", device, activeDocument()?.uri);
  }

  async reportEnvironment(): Promise<void> {
    const params: DocumentParams = { uri: activeUri() ?? null };
    const answer = await this.#request<string>(REQUESTS.environment, params).catch(
      (error: unknown) => `The server gave no report: ${messageOf(error)}`,
    );
    const { state, interpreters } = this.#supervisor;
    const version = String((this.#context.extension.packageJSON as { version: unknown }).version);
    const content = environmentReport({ version, state, ...interpreters }, answer);
    const document = await vscode.workspace.openTextDocument({ language: "markdown", content });
    await vscode.window.showTextDocument(document);
  }

  async #request<Answer>(method: string, params: object): Promise<Answer> {
    const { client, state } = this.#supervisor;
    if (client === null) {
      throw new Error(state.kind === "failed" ? state.reason : "IrEne is still starting.");
    }
    return client.sendRequest<Answer>(method, params);
  }
}

/** Writes what is picked to the setting; the choice in use comes first, where the list opens. */
async function choose(
  setting: "device" | "predictor",
  choices: readonly Choice[],
  { selected, setBy }: { readonly selected: string; readonly setBy: string },
  placeHolder: string,
): Promise<void> {
  const isSelected = (it: Choice) => it.id === selected;
  const ordered = [...choices.filter(isSelected), ...choices.filter((it) => !isSelected(it))];
  const items = ordered.map((it) => ({
    id: it.id,
    label: it.name,
    detail: it.detail,
    ...(isSelected(it) && { description: `selected by ${setBy}` }),
  }));
  const picked = await vscode.window.showQuickPick(items, { placeHolder, matchOnDetail: true });
  if (picked === undefined) return;
  await writeChoice(setting, picked.id, activeDocument()?.uri);
  if (setBy.includes("pyproject.toml")) {
    const where = `sets the ${setting} of this file and goes before the setting: change it there.`;
    void vscode.window.showInformationMessage(`IrEne: ${setBy} ${where}`);
  }
}

async function showFailure(error: unknown, log: vscode.LogOutputChannel): Promise<void> {
  log.error(messageOf(error));
  const picked = await vscode.window.showErrorMessage(`IrEne: ${messageOf(error)}`, "Show logs");
  if (picked !== undefined) log.show();
}

async function run(command: string): Promise<void> {
  await vscode.commands.executeCommand(command);
}

function activeDocument(): vscode.TextDocument | undefined {
  const document = vscode.window.activeTextEditor?.document;
  return document?.languageId === "python" ? document : undefined;
}

function activeUri(): string | undefined {
  return activeDocument()?.uri.toString();
}

/** The palette passes nothing and menus pass objects; only lenses pass text. */
function text(argument: unknown): string | undefined {
  return typeof argument === "string" ? argument : undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
