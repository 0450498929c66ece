/** The extension's half of "Report environment", above what the server says: a pure function. */

import type { InterpreterParams } from "./messages";
import type { Interpreter } from "./python/choice";
import type { ServerState } from "./status";

export interface ExtensionFacts {
  readonly version: string;
  readonly state: ServerState;
  readonly server: Interpreter | null;
  readonly worker: InterpreterParams | null;
}

export function environmentReport(facts: ExtensionFacts, serverReport: string): string {
  const { version, state, server, worker } = facts;
  const lines = [
    "# IrEne: environment",
    "",
    "## Extension",
    "",
    `- version ${version}, ${process.platform} ${process.arch}`,
    `- server: ${state.kind}${state.kind === "failed" ? `: ${state.reason}` : ""}`,
    `- server's interpreter: ${server === null ? "none" : `\`${server.path}\` (${server.source})`}`,
    `- worker's interpreter: ${worker === null ? "not looked for yet" : workerLine(worker)}`,
    "",
    serverReport.trim(),
    "",
  ];
  return lines.join("\n");
}

function workerLine({ path, source, trusted }: InterpreterParams): string {
  const trust = trusted ? "" : "; not run, the folder is not trusted";
  return path === null ? `none (${source})${trust}` : `\`${path}\` (${source})${trust}`;
}
