/** The manifest agrees with the code: settings, commands, trust. */

import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { CLIENT_SETTINGS, LENS_COMMANDS, SERVER_SETTINGS } from "../../extension/src/messages";

const root = path.resolve(import.meta.dirname, "..", "..");
const manifest = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
const commands = readFileSync(path.join(root, "extension/src/commands.ts"), "utf8");

test("each setting is declared, typed and described", () => {
  const properties: Record<string, Record<string, unknown>> = manifest.contributes.configuration
    .properties;
  const known = [...SERVER_SETTINGS, ...CLIENT_SETTINGS].map((it) => `irene.${it}`);
  expect(Object.keys(properties).sort()).toEqual(known.sort());
  for (const property of Object.values(properties)) {
    expect(property).toMatchObject({ type: expect.anything(), scope: expect.any(String) });
    expect(property.markdownDescription).toEqual(expect.any(String));
  }
});

test("what starts a program is restricted to trusted folders", () => {
  expect(manifest.capabilities.untrustedWorkspaces.restrictedConfigurations).toEqual(
    expect.arrayContaining(CLIENT_SETTINGS.map((it) => `irene.${it}`)),
  );
});

test("each command of the palette has its handler", () => {
  const titles = manifest.contributes.commands.map((it: { title: string }) => it.title);
  expect(titles).toEqual(
    expect.arrayContaining([
      "Profile this model",
      "Select device",
      "Select target",
      "Restart server",
      "Show logs",
      "Report environment",
    ]),
  );
  const constants = Object.entries(LENS_COMMANDS);
  for (const { command } of manifest.contributes.commands) {
    const name = constants.find(([, id]) => id === command)?.[0];
    expect(commands.includes(name ? `LENS_COMMANDS.${name}` : `"${command}"`), command).toBe(true);
  }
});

test("commands of lenses are handled", () => {
  for (const name of Object.keys(LENS_COMMANDS)) {
    expect(commands).toMatch(new RegExp(`LENS_COMMANDS\\.${name}|"irene\\.${name}"`));
  }
});
