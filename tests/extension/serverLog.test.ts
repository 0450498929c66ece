/** Lines of the server's standard error, at their own levels. */

import { expect, test } from "vitest";
import { serverLogReader } from "../../extension/src/serverLog";

test("each record has its level, further lines that of their record", () => {
  const read = serverLogReader();
  const lines = [
    "python: No module named irene_server",
    "2026-01-31 12:00:00,123 INFO Profiled Net: 3 mJ per forward",
    "2026-01-31 12:00:01,000 WARNING The editor did not answer",
    "2026-01-31 12:00:02,000 ERROR The estimate failed",
    "Traceback (most recent call last):",
    "2026-01-31 12:00:03,000 INFO Stopped",
  ];
  expect(lines.map(read)).toEqual([
    { level: "error", text: "python: No module named irene_server" },
    { level: "info", text: "Profiled Net: 3 mJ per forward" },
    { level: "warn", text: "The editor did not answer" },
    { level: "error", text: "The estimate failed" },
    { level: "error", text: "Traceback (most recent call last):" },
    { level: "info", text: "Stopped" },
  ]);
});
