/** What the status bar says. */

import { expect, test } from "vitest";
import type { StatusParams } from "../../extension/src/messages";
import { type StatusInputs, statusItem } from "../../extension/src/status";

const document: StatusParams = {
  uri: "file:///net.py",
  state: "ready",
  text: "GPT 372 mJ · A30",
  device: "NVIDIA A30",
  tooltip: "a card",
};
const RUNNING: StatusInputs = {
  isPython: true,
  trusted: true,
  server: { kind: "running" },
  document,
  whole: null,
};

test.each([
  ["nothing outside of Python", { ...RUNNING, isPython: false }, undefined],
  ["nothing for a file without models", { ...RUNNING, document: null }, undefined],
  ["the model's energy", RUNNING, "$(zap) GPT 372 mJ · A30"],
  [
    "that it works",
    { ...RUNNING, document: { ...document, state: "working", text: "…" } },
    "$(loading~spin) …",
  ],
  ["what trust would bring", { ...RUNNING, trusted: false }, "$(shield) IrEne: needs trust"],
  [
    "that it installs",
    { ...RUNNING, server: { kind: "installing" } },
    "$(loading~spin) IrEne: installing",
  ],
  [
    "that the server failed",
    { ...RUNNING, server: { kind: "failed", reason: "no Python" } },
    "$(error) IrEne",
  ],
] as readonly [string, StatusInputs, string | undefined][])("shows %s", (_, inputs, text) => {
  expect(statusItem(inputs)?.text).toBe(text);
});

test("a click chooses the device, or shows why something failed", () => {
  expect(statusItem(RUNNING)?.command).toBe("irene.selectDevice");
  const failed = { ...RUNNING, document: { ...document, state: "failed" as const } };
  expect(statusItem(failed)?.command).toBe("irene.showLogs");
});
