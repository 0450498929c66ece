/** "Report environment" has the extension's half also where the server has none. */

import { expect, test } from "vitest";
import { environmentReport } from "../../extension/src/report";

const SERVER = { path: "/env/bin/python", source: "Python extension" };

test.each([
  [
    "a running server in a trusted folder",
    { state: { kind: "running" }, server: SERVER, worker: { ...SERVER, trusted: true } },
    [
      "- server: running",
      "- server's interpreter: `/env/bin/python` (Python extension)",
      "- worker's interpreter: `/env/bin/python` (Python extension)",
    ],
  ],
  [
    "a folder that is not trusted",
    { state: { kind: "running" }, server: SERVER, worker: { ...SERVER, trusted: false } },
    [
      "- server: running",
      "- server's interpreter: `/env/bin/python` (Python extension)",
      "- worker's interpreter: `/env/bin/python` (Python extension); not run, the folder is not trusted",
    ],
  ],
  [
    "no interpreter at all",
    {
      state: { kind: "failed", reason: "no Python was found" },
      server: null,
      worker: { path: null, source: "none found", trusted: true },
    },
    [
      "- server: failed: no Python was found",
      "- server's interpreter: none",
      "- worker's interpreter: none (none found)",
    ],
  ],
] as const)("%s", (_, facts, expected) => {
  const report = environmentReport({ version: "1.2.3", ...facts }, "## Server\n\nnothing\n");
  const lines = report.split("\n");
  expect(lines.slice(5, 8)).toEqual(expected);
  expect(report).toContain("- version 1.2.3, ");
  expect(report.endsWith("## Server\n\nnothing\n")).toBe(true);
});
