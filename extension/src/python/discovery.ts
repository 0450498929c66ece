/** Looks around for interpreters: settings, the two Python extensions, the folder, the `PATH`. */

import * as fs from "node:fs/promises";
import * as vscode from "vscode";
import { within } from "../waiting";
import type { Surroundings } from "./choice";
import { commandFiles, environmentPythons } from "./paths";

/** The part of the Python Environments extension's interface that is used here. */
interface EnvironmentsApi {
  getEnvironment(
    scope: vscode.Uri | undefined,
  ): Promise<
    { readonly execInfo?: { readonly run?: { readonly executable?: string } } } | undefined
  >;
  readonly onDidChangeEnvironment?: vscode.Event<unknown>;
}

/** The part of the Python extension's interface that is used here. */
interface PythonApi {
  readonly environments?: {
    getActiveEnvironmentPath(resource?: vscode.Uri): { readonly path: string };
    readonly onDidChangeActiveEnvironmentPath?: vscode.Event<unknown>;
  };
}

const ENVIRONMENTS_ID = "ms-python.vscode-python-envs";
const PYTHON_ID = "ms-python.python";
/** Another extension may take long: after this the next source counts until it is ready. */
const ANSWER_LIMIT_MS = 5_000;

export class InterpreterDiscovery implements vscode.Disposable {
  readonly #changed = new vscode.EventEmitter<void>();
  readonly #subscriptions = new Map<string, vscode.Disposable>();
  /** What the Python Environments extension answered last. */
  #environment: string | null = null;
  readonly onDidChange = this.#changed.event;

  dispose(): void {
    for (const subscription of this.#subscriptions.values()) subscription.dispose();
    this.#changed.dispose();
  }

  async look(
    folder: vscode.WorkspaceFolder | undefined,
    setting: string | null,
  ): Promise<Surroundings> {
    return {
      platform: process.platform,
      trusted: vscode.workspace.isTrusted,
      folders: await workspaceFolders(),
      setting: await locate(setting),
      environmentsExtension: await this.#fromEnvironmentsExtension(folder?.uri),
      pythonExtension: await this.#fromPythonExtension(folder?.uri),
      folderEnvironment: await folderEnvironment(folder),
      onPath: (await pythonsOnPath())[0] ?? null,
    };
  }

  async #fromEnvironmentsExtension(uri: vscode.Uri | undefined): Promise<string | null> {
    const api = await this.#activate<EnvironmentsApi>(ENVIRONMENTS_ID);
    if (typeof api?.getEnvironment !== "function") return null;
    this.#watch(ENVIRONMENTS_ID, api.onDidChangeEnvironment);
    const before = this.#environment;
    let late = false;
    const asked = api.getEnvironment(uri).then((environment) => {
      this.#environment = environment?.execInfo?.run?.executable ?? null;
      // An answer that says nothing new would only make it be asked again, without end.
      if (late && this.#environment !== before) this.#changed.fire();
    });
    await within(asked, ANSWER_LIMIT_MS, ENVIRONMENTS_ID).catch(() => {
      late = true;
    });
    return locate(this.#environment);
  }

  async #fromPythonExtension(uri: vscode.Uri | undefined): Promise<string | null> {
    const api = await this.#activate<PythonApi>(PYTHON_ID);
    if (typeof api?.environments?.getActiveEnvironmentPath !== "function") return null;
    this.#watch(PYTHON_ID, api.environments.onDidChangeActiveEnvironmentPath);
    return locate(api.environments.getActiveEnvironmentPath(uri).path);
  }

  async #activate<Api>(id: string): Promise<Api | undefined> {
    const extension = vscode.extensions.getExtension<Api>(id);
    if (extension === undefined || extension.isActive) return extension?.exports;
    let late = false;
    const started = Promise.resolve(extension.activate()).then(
      (api) => {
        if (late) this.#changed.fire();
        return api;
      },
      () => undefined,
    );
    return within(started, ANSWER_LIMIT_MS, id).catch(() => {
      late = true;
      return undefined;
    });
  }

  #watch(id: string, event: vscode.Event<unknown> | undefined): void {
    if (event === undefined || this.#subscriptions.has(id)) return;
    this.#subscriptions.set(
      id,
      event(() => this.#changed.fire()),
    );
  }
}

/** Interpreters of the `PATH` in its order. */
export async function pythonsOnPath(): Promise<readonly string[]> {
  const names = process.platform === "win32" ? ["python", "python3"] : ["python3", "python"];
  const files = names.flatMap((name) => commandFiles(name, process.env, process.platform));
  const there = await Promise.all(files.map(isProgram));
  return [...new Set(files.filter((_, index) => there[index]))];
}

async function folderEnvironment(
  folder: vscode.WorkspaceFolder | undefined,
): Promise<string | null> {
  if (folder === undefined || !vscode.workspace.isTrusted) return null;
  return firstProgram(
    environmentPythons(vscode.Uri.joinPath(folder.uri, ".venv").fsPath, process.platform),
  );
}

/** A command becomes its file, an environment's folder its interpreter; what is not there stays as it is. */
export async function locate(path: string | null): Promise<string | null> {
  if (path === null || path === "") return null;
  if (!/[\\/]/.test(path)) {
    return (await firstProgram(commandFiles(path, process.env, process.platform))) ?? path;
  }
  const isFolder = await fs.stat(path).then(
    (it) => it.isDirectory(),
    () => false,
  );
  if (!isFolder) return path;
  return (await firstProgram(environmentPythons(path, process.platform))) ?? path;
}

async function firstProgram(files: readonly string[]): Promise<string | null> {
  for (const file of files) if (await isProgram(file)) return file;
  return null;
}

/** Windows' store keeps empty files named `python.exe` on the `PATH`, which open a shop. */
async function isProgram(file: string): Promise<boolean> {
  return fs.stat(file).then(
    (it) => it.isFile() && it.size > 0,
    () => false,
  );
}

/** Each folder by its name and by what its links lead to. */
async function workspaceFolders(): Promise<readonly string[]> {
  const names = (vscode.workspace.workspaceFolders ?? []).map((it) => it.uri.fsPath);
  const real = await Promise.all(names.map((it) => fs.realpath(it).catch(() => it)));
  return [...new Set([...names, ...real])];
}
