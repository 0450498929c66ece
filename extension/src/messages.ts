/**
 * What the extension and the server say to each other beyond the language server protocol.
 *
 * Each name here stands in `server/irene_server/messages.py` and in `docs/protocol.md` too; a test
 * compares them. Values are plain JSON in camelCase; `null` means "not known" or "not set".
 */

/** Settings of section `irene` that the server reads with `workspace/configuration`. */
export const SERVER_SETTINGS = [
  "enabled",
  "device",
  "predictor",
  "batchSize",
  "sequenceLength",
  "dtype",
  "attention",
  "inlayHints.enabled",
  "codeLens.enabled",
] as const;

/** Settings that only the extension reads: they decide which processes are started. */
export const CLIENT_SETTINGS = ["interpreter", "server.interpreter"] as const;

/** Requests of the extension that the server answers. */
export const REQUESTS = {
  devices: "irene/devices",
  predictors: "irene/predictors",
  targets: "irene/targets",
  setTarget: "irene/setTarget",
  environment: "irene/environment",
} as const;

/** Notifications, `status` from the server, `interpreter` to it. */
export const NOTIFICATIONS = {
  status: "irene/status",
  interpreter: "irene/interpreter",
} as const;

/** Commands that the server runs for `workspace/executeCommand`. */
export const SERVER_COMMANDS = {
  profile: "irene.server.profile",
} as const;

/** Commands of the extension that lenses and code actions of the server may name. */
export const LENS_COMMANDS = {
  profile: "irene.profile",
  selectTarget: "irene.selectTarget",
  switchDevice: "irene.switchDevice",
  manageTrust: "irene.manageTrust",
} as const;

/** Which interpreter the worker may run in; also `initializationOptions.interpreter`. */
export interface InterpreterParams {
  readonly path: string | null;
  readonly trusted: boolean;
  readonly source: string;
}

export interface InitializationOptions {
  readonly interpreter: InterpreterParams;
}

/** State of one document (`uri`), or of the server where `uri` is null. */
export interface StatusParams {
  readonly uri: string | null;
  readonly state: "ready" | "working" | "failed";
  readonly text: string;
  readonly device: string | null;
  readonly tooltip: string;
}

export interface DocumentParams {
  readonly uri: string | null;
}

/** A device or predictor that can be selected. */
export interface Choice {
  readonly id: string;
  readonly name: string;
  readonly detail: string;
}

/** The catalogue; `setBy` says in words which source decides (`"pyproject.toml"`, `"settings"`). */
export interface DevicesAnswer {
  readonly devices: readonly Choice[];
  readonly selected: string;
  readonly setBy: string;
}

/** The shipped predictors and those that were trained here; `setBy` as for devices. */
export interface PredictorsAnswer {
  readonly predictors: readonly Choice[];
  readonly selected: string;
  readonly setBy: string;
}

export interface TargetChoice {
  readonly className: string;
  readonly detail: string;
  readonly selected: boolean;
}

export interface SetTargetParams {
  readonly uri: string;
  readonly className: string;
}

/** Arguments of `irene.server.profile`; `null` profiles the target that is selected. */
export type ProfileArguments = readonly [uri: string, className: string | null];

/** What `irene.server.profile` answers; `null` after a cancel. */
export interface ProfileAnswer {
  readonly className: string;
  readonly summary: string;
}
