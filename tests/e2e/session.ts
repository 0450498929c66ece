/** One editor per test: a workspace with the example, a server and a window that end with it. */

import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach } from "vitest";
import { python } from "../../scripts/lib/python.mjs";
import { root } from "../../scripts/lib/steps.mjs";
import { type CodeServer, type CodeServerOptions, startCodeServer } from "./codeServer";
import { type WindowOptions, Workbench } from "./workbench";

export const DEVICE = "A100-SXM4-80GB";

export interface Session {
  /** Folder of the workspace: `gpt.py`, and what the test adds. */
  readonly folder: () => string;
  readonly open: (
    file: string,
    options?: Partial<CodeServerOptions> & WindowOptions,
    workspace?: string,
  ) => Promise<Workbench>;
  readonly changeSettings: (settings: Readonly<Record<string, unknown>>) => void;
}

/** Registers the hooks of a test file. */
export function useSession(): Session {
  let folder = "";
  let server: CodeServer | undefined;
  let window: Workbench | undefined;

  beforeEach(() => {
    folder = path.join(mkdtempSync(path.join(os.tmpdir(), "irene-")), "models");
    mkdirSync(folder);
    copyFileSync(path.join(root, "examples", "gpt.py"), path.join(folder, "gpt.py"));
  });

  afterEach(async (context) => {
    if (context.task.result?.state === "fail") process.stderr.write(server?.logs() ?? "");
    await window?.close();
    await server?.stop();
    server = undefined;
    window = undefined;
    rmSync(path.dirname(folder), { recursive: true, force: true });
  });

  return {
    folder: () => folder,
    open: async (file, options = {}, workspace = folder) => {
      const settings = { "irene.interpreter": python, "irene.device": DEVICE, ...options.settings };
      server = await startCodeServer({ workspace, ...options, settings });
      window = await Workbench.open(server.url, options);
      await window.openFile(file);
      return window;
    },
    changeSettings: (settings) => server?.changeSettings(settings),
  };
}

export const isValue = (texts: readonly string[]): boolean =>
  texts.some((it) => it.includes("per forward"));

/** The folder of a model in the installed Transformers. */
export function installedModel(name: string): string {
  const library = path.join(path.dirname(path.dirname(python)), "lib");
  const below = path.join("site-packages", "transformers", "models", name);
  const versions = ["3.10", "3.11", "3.12", "3.13", "3.14"].map((it) => `python${it}`);
  const folders = versions.map((it) => path.join(library, it, below));
  const there = folders.find((it) => existsSync(it));
  if (there === undefined) throw new Error(`Transformers is not installed below ${library}`);
  return there;
}
