/**
 * Which interpreter runs what: pure functions over what was found, without the editor.
 *
 * Two interpreters are never confused. The worker's is the user's own, in which models are built;
 * the server's runs IrEne itself and never sees the user's code.
 */

import { isInside } from "./paths";

export interface Interpreter {
  readonly path: string;
  /** Where the path comes from, in words that people read. */
  readonly source: string;
}

/** All that the choice of the worker's interpreter depends on. */
export interface Surroundings {
  readonly platform: NodeJS.Platform;
  readonly trusted: boolean;
  /** Folders of the workspace, each also with its links resolved. */
  readonly folders: readonly string[];
  readonly setting: string | null;
  readonly environmentsExtension: string | null;
  readonly pythonExtension: string | null;
  readonly folderEnvironment: string | null;
  readonly onPath: string | null;
}

/** What an interpreter answered when it was asked for its version and for IrEne's server. */
export type Probe =
  | {
      readonly kind: "python";
      readonly version: readonly [number, number];
      readonly server: string | null;
    }
  | { readonly kind: "broken"; readonly reason: string };

export interface Probed {
  readonly interpreter: Interpreter;
  readonly probe: Probe;
}

export type ServerChoice =
  | { readonly kind: "use"; readonly interpreter: Interpreter }
  | { readonly kind: "make"; readonly bases: readonly Interpreter[] }
  | { readonly kind: "none"; readonly reason: string };

const OLDEST: readonly [number, number] = [3, 10];

export function workerCandidates(found: Surroundings): readonly Interpreter[] {
  const named: readonly (readonly [string | null, string])[] = [
    [found.setting, "setting irene.interpreter"],
    [found.environmentsExtension, "Python Environments extension"],
    [found.pythonExtension, "Python extension"],
    [found.folderEnvironment, ".venv of the folder"],
    [found.onPath, "PATH"],
  ];
  return named
    .flatMap(([path, source]) => (path === null ? [] : [{ path, source }]))
    .filter((it) => mayRun(it.path, found));
}

export function chooseWorker(found: Surroundings): Interpreter | null {
  return workerCandidates(found)[0] ?? null;
}

/** An interpreter of a folder that is not trusted is code of that folder. */
export function mayRun(
  path: string,
  found: Pick<Surroundings, "trusted" | "folders" | "platform">,
): boolean {
  return found.trusted || !isInside(path, found.folders, found.platform);
}

/** The setting as it is; else the worker's where it serves this version; else one to be made. */
export function chooseServer(
  setting: Probed | null,
  worker: Probed | null,
  bases: readonly Probed[],
  version: string,
): ServerChoice {
  if (setting !== null) {
    const problem = problemOfServer(setting.probe);
    if (problem === null) return { kind: "use", interpreter: setting.interpreter };
    return {
      kind: "none",
      reason: `irene.server.interpreter is ${setting.interpreter.path}, but ${problem}. Correct the setting, or empty it and IrEne makes an environment of its own.`,
    };
  }
  if (worker !== null && serves(worker.probe, version)) {
    return { kind: "use", interpreter: worker.interpreter };
  }
  const usable = [...(worker === null ? [] : [worker]), ...bases].filter(
    (it) => it.probe.kind === "python" && isNewEnough(it.probe.version),
  );
  if (usable.length > 0) return { kind: "make", bases: usable.map((it) => it.interpreter) };
  return {
    kind: "none",
    reason: `No Python ${OLDEST.join(".")} or newer was found. Install one, or name one in irene.server.interpreter.`,
  };
}

function serves(probe: Probe, version: string): boolean {
  // The messages of another release may differ; a release is its first two numbers.
  const release = (text: string | null) => text?.split(".").slice(0, 2).join(".");
  return (
    probe.kind === "python" &&
    problemOfServer(probe) === null &&
    release(probe.server) === release(version)
  );
}

function problemOfServer(probe: Probe): string | null {
  switch (probe.kind) {
    case "broken":
      return probe.reason;
    case "python":
      if (!isNewEnough(probe.version)) {
        return `it is Python ${probe.version.join(".")}, and the server needs ${OLDEST.join(".")}`;
      }
      return probe.server === null
        ? "it lacks the server (python -m pip install 'irene-energy[server]')"
        : null;
    default:
      return probe satisfies never;
  }
}

function isNewEnough([major, minor]: readonly [number, number]): boolean {
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}
