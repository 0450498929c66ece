/** Where interpreters lie on each system: pure functions over paths, without the editor. */

import * as nodePath from "node:path";

export interface PathContext {
  readonly home: string;
  readonly folder: string | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly platform: NodeJS.Platform;
}

/** A path as people write it in settings: `~`, `${workspaceFolder}`, `${env:NAME}`, relative to the folder. */
export function expandPath(setting: string | null, context: PathContext): string | null {
  const text = setting?.trim() ?? "";
  if (text === "") return null;
  const path = pathOf(context.platform);
  const filled = text
    .replace(/^~(?=$|[\\/])/, () => context.home)
    .replaceAll("${workspaceFolder}", () => context.folder ?? "")
    .replaceAll("${userHome}", () => context.home)
    .replace(/\$\{env:([^}]+)\}/g, (_, name: string) => context.env[name] ?? "");
  const isCommand = !/[\\/]/.test(filled);
  if (isCommand || path.isAbsolute(filled) || context.folder === null) return filled;
  return path.join(context.folder, filled);
}

/** The interpreter of a virtual or conda environment in `folder`, in the order to look for it. */
export function environmentPythons(folder: string, platform: NodeJS.Platform): readonly string[] {
  const path = pathOf(platform);
  if (platform === "win32") {
    return [path.join(folder, "Scripts", "python.exe"), path.join(folder, "python.exe")];
  }
  return [path.join(folder, "bin", "python"), path.join(folder, "bin", "python3")];
}

/** Every file of `PATH` that a command of this name could be. */
export function commandFiles(
  name: string,
  env: Readonly<Record<string, string | undefined>>,
  platform: NodeJS.Platform,
): readonly string[] {
  const path = pathOf(platform);
  // Windows spells the variable "Path".
  const variable = Object.keys(env).find((key) => key.toUpperCase() === "PATH") ?? "PATH";
  const folders = (env[variable] ?? "").split(path.delimiter).filter((it) => path.isAbsolute(it));
  const file = platform === "win32" && !/\.exe$/i.test(name) ? `${name}.exe` : name;
  return folders.map((folder) => path.join(folder, file));
}

/** Whether `file` lies in one of `folders`, by its name: links are the caller's to resolve. */
export function isInside(
  file: string,
  folders: readonly string[],
  platform: NodeJS.Platform,
): boolean {
  const path = pathOf(platform);
  return folders.some((folder) => {
    const relative = path.relative(folder, file);
    return relative === "" || (!/^\.\.($|[\\/])/.test(relative) && !path.isAbsolute(relative));
  });
}

function pathOf(platform: NodeJS.Platform): nodePath.PlatformPath {
  return platform === "win32" ? nodePath.win32 : nodePath.posix;
}
