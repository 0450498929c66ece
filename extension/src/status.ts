/** What the one status bar item says: a pure function of what is known. */

import type { StatusParams } from "./messages";

/** The server's life, as the extension sees it. */
export type ServerState =
  | { readonly kind: "starting" }
  | { readonly kind: "installing" }
  | { readonly kind: "running" }
  | { readonly kind: "failed"; readonly reason: string };

export interface StatusInputs {
  readonly isPython: boolean;
  readonly trusted: boolean;
  readonly server: ServerState;
  /** What the server last said about the document in front. */
  readonly document: StatusParams | null;
  /** What the server last said about itself. */
  readonly whole: StatusParams | null;
}

export interface StatusItem {
  readonly text: string;
  readonly tooltip: string;
  readonly command: string;
}

/** `null` hides the item. */
export function statusItem(inputs: StatusInputs): StatusItem | null {
  if (!inputs.isPython) return null;
  switch (inputs.server.kind) {
    case "starting":
      return {
        text: "$(loading~spin) IrEne",
        tooltip: "IrEne is starting",
        command: "irene.showLogs",
      };
    case "installing":
      return {
        text: "$(loading~spin) IrEne: installing",
        tooltip: "IrEne is making its Python environment, once",
        command: "irene.showLogs",
      };
    case "failed":
      return { text: "$(error) IrEne", tooltip: inputs.server.reason, command: "irene.showLogs" };
    case "running":
      return running(inputs);
    default:
      return inputs.server satisfies never;
  }
}

function running({ trusted, document, whole }: StatusInputs): StatusItem | null {
  const status = document ?? whole;
  if (status === null || status.text === "") return null;
  if (!trusted) {
    return {
      text: "$(shield) IrEne: needs trust",
      tooltip: "Building a model runs code of this folder: IrEne does so once you trust it.",
      command: "irene.manageTrust",
    };
  }
  return {
    text: `${icon(status.state)} ${status.text}`,
    tooltip: status.tooltip,
    ...action(status),
  };
}

function icon(state: StatusParams["state"]): string {
  switch (state) {
    case "ready":
      return "$(zap)";
    case "working":
      return "$(loading~spin)";
    case "failed":
      return "$(warning)";
    default:
      return state satisfies never;
  }
}

function action(status: StatusParams): { readonly command: string } {
  return { command: status.state === "failed" ? "irene.showLogs" : "irene.selectDevice" };
}
