/**
 * A code-server of its own for one test: fresh user data, the packaged extension, a free loopback
 * port. All that it starts ends with it.
 */

import { type ChildProcess, spawn } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import os from "node:os";
import path from "node:path";
import { inject } from "vitest";
import { editor } from "../../scripts/lib/editor.mjs";
import { commands } from "../../scripts/lib/python.mjs";

export interface CodeServerOptions {
  readonly workspace: string;
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Ask for trust and stay in Restricted Mode; otherwise the folder counts as trusted. */
  readonly restricted?: boolean;
  readonly theme?: "light" | "dark";
}

export interface CodeServer {
  readonly url: string;
  /** What the extension logged, the server's standard error with it. */
  logs(): string;
  /** Writes settings over those of the start; the editor follows the file. */
  changeSettings(settings: Readonly<Record<string, unknown>>): void;
  stop(): Promise<void>;
}

const START_LIMIT_MS = 60_000;
const THEMES = { light: "Light 2026", dark: "Dark 2026" } as const;

export async function startCodeServer(options: CodeServerOptions): Promise<CodeServer> {
  // Short: unix sockets lie below it, whose paths may have 107 characters.
  const home = mkdtempSync(path.join(os.tmpdir(), "ie-"));
  const userData = path.join(home, "u");
  writeSettings(userData, options);
  cpSync(inject("extensions"), path.join(home, "e"), { recursive: true });
  const port = await freePort();
  const args = [
    ...[editor.entry, "--config", path.join(home, "config.yaml"), "--auth", "none"],
    ...["--bind-addr", `127.0.0.1:${port}`, "--user-data-dir", userData],
    ...["--extensions-dir", path.join(home, "e")],
    ...["--disable-telemetry", "--disable-update-check", "--disable-getting-started-override"],
  ];
  const env = environment(home);
  const child = spawn(editor.node, args, { cwd: home, env, detached: true });
  await listening(child);
  const folder = encodeURIComponent(options.workspace);
  return {
    url: `http://127.0.0.1:${port}/?folder=${folder}`,
    logs: () => readLogs(path.join(userData, "logs")),
    changeSettings: (settings) =>
      writeSettings(userData, { ...options, settings: { ...options.settings, ...settings } }),
    stop: async () => {
      await end(child);
      rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    },
  };
}

function writeSettings(userData: string, options: CodeServerOptions): void {
  const settings = {
    "workbench.colorTheme": THEMES[options.theme ?? "light"],
    "window.autoDetectColorScheme": false,
    "security.workspace.trust.enabled": options.restricted === true,
    "security.workspace.trust.startupPrompt": "never",
    "security.workspace.trust.banner": "always",
    "workbench.startupEditor": "none",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.editor.useModal": "off",
    "chat.disableAIFeatures": true,
    "extensions.ignoreRecommendations": true,
    "extensions.autoUpdate": false,
    "telemetry.telemetryLevel": "off",
    "git.openRepositoryInParentFolders": "never",
    // A browser saves by itself, which would change the files of the test.
    "files.autoSave": "off",
    "editor.autoClosingBrackets": "never",
    "editor.minimap.enabled": false,
    "editor.stickyScroll.enabled": false,
    "editor.occurrencesHighlight": "off",
    ...options.settings,
  };
  // Settings of a machine's scope count in the second place only: code-server is a remote.
  for (const place of ["User", "Machine"]) {
    mkdirSync(path.join(userData, place), { recursive: true });
    writeFileSync(path.join(userData, place, "settings.json"), JSON.stringify(settings));
  }
}

/** The environment of the checkout comes first on the `PATH`, as after `activate`. */
function environment(home: string): NodeJS.ProcessEnv {
  const run = path.join(home, "run");
  mkdirSync(run, { recursive: true });
  return {
    ...process.env,
    PATH: `${commands}${path.delimiter}${process.env.PATH}`,
    TMPDIR: run,
    XDG_RUNTIME_DIR: run,
    XDG_DATA_HOME: path.join(home, "x"),
    XDG_CONFIG_HOME: path.join(home, "x"),
    XDG_CACHE_HOME: path.join(home, "x"),
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

function listening(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let printed = "";
    const fail = (why: string) =>
      reject(new Error(`code-server did not start (${why}):\n${printed}`));
    const limit = setTimeout(() => fail("too slow"), START_LIMIT_MS);
    const read = (chunk: Buffer) => {
      printed += chunk.toString();
      if (!printed.includes("HTTP server listening")) return;
      clearTimeout(limit);
      resolve();
    };
    child.stdout?.on("data", read);
    child.stderr?.on("data", read);
    child.once("exit", (code) => fail(`ended with ${code}`));
  });
}

/** Ends the whole group: code-server, the extension host, the language server, its workers. */
async function end(child: ChildProcess): Promise<void> {
  const { pid } = child;
  if (pid === undefined) return;
  const signal = (name: NodeJS.Signals | 0): boolean => {
    try {
      return process.kill(-pid, name);
    } catch {
      return false;
    }
  };
  signal("SIGTERM");
  for (let waited = 0; waited < 5_000 && signal(0); waited += 100) {
    await new Promise((done) => setTimeout(done, 100));
  }
  signal("SIGKILL");
}

function readLogs(folder: string): string {
  if (!existsSync(folder)) return "";
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return files
    .filter((it) => it.includes("irene.irene-energy") && it.endsWith(".log"))
    .map((it) => readFileSync(path.join(folder, it), "utf8"))
    .join("\n");
}
