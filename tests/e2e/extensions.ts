/** Installs the VSIX once for all tests of a run; each editor gets a copy. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { TestProject } from "vitest/node";
import { vsixFile } from "../../scripts/lib/build.mjs";
import { editor } from "../../scripts/lib/editor.mjs";

declare module "vitest" {
  interface ProvidedContext {
    /** Folder of the installed extensions. */
    readonly extensions: string;
  }
}

export function setup(project: TestProject): () => void {
  const home = mkdtempSync(path.join(os.tmpdir(), "irene-extensions-"));
  const extensions = path.join(home, "extensions");
  const places = ["--extensions-dir", extensions, "--user-data-dir", path.join(home, "data")];
  const env = { ...process.env, XDG_CONFIG_HOME: home, XDG_DATA_HOME: home };
  const args = [editor.entry, ...places, "--install-extension", vsixFile()];
  execFileSync(editor.node, args, { env, cwd: home, stdio: ["ignore", "pipe", "inherit"] });
  project.provide("extensions", extensions);
  return () => rmSync(home, { recursive: true, force: true });
}
