/** What the server writes to its standard error, at the level that each line carries: a pure function. */

export type Level = "debug" | "info" | "warn" | "error";

export interface LogLine {
  readonly level: Level;
  readonly text: string;
}

const LEVELS: Readonly<Record<string, Level>> = {
  DEBUG: "debug",
  INFO: "info",
  WARNING: "warn",
  ERROR: "error",
  CRITICAL: "error",
};

/** As `irene_server.__main__` sets up logging: the time, the level, the message. */
const RECORD = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([A-Z]+) (.*)$/;

/** A reader of lines in order: further lines of a record, such as a traceback, have its level. */
export function serverLogReader(): (line: string) => LogLine {
  // Before its first record a process can only say why it did not start.
  let level: Level = "error";
  return (line) => {
    const [, name = "", message = ""] = RECORD.exec(line) ?? [];
    const own = LEVELS[name];
    if (own === undefined) return { level, text: line };
    level = own;
    return { level, text: message };
  };
}
