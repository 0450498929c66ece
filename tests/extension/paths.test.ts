/** Paths as people write them, on each system. */

import { expect, test } from "vitest";
import {
  commandFiles,
  environmentPythons,
  expandPath,
  isInside,
} from "../../extension/src/python/paths";

const context = {
  home: "/home/me",
  folder: "/work/net",
  env: { CONDA: "/opt/conda" },
  platform: "linux" as NodeJS.Platform,
};

test.each([
  [null, null],
  ["  ", null],
  ["python3.12", "python3.12"],
  ["~/env/bin/python", "/home/me/env/bin/python"],
  ["$" + "{workspaceFolder}/.venv/bin/python", "/work/net/.venv/bin/python"],
  ["$" + "{env:CONDA}/bin/python", "/opt/conda/bin/python"],
  [".venv/bin/python", "/work/net/.venv/bin/python"],
])("%s is %s", (setting, expected) => {
  expect(expandPath(setting, context)).toBe(expected);
});

test("environments lie elsewhere on Windows", () => {
  expect(environmentPythons("C:\\net\\.venv", "win32")[0]).toBe(
    "C:\\net\\.venv\\Scripts\\python.exe",
  );
  expect(environmentPythons("/net/.venv", "linux")[0]).toBe("/net/.venv/bin/python");
});

test("relative folders of the PATH do not count", () => {
  expect(commandFiles("python3", { PATH: "/usr/bin:.:bin" }, "linux")).toEqual([
    "/usr/bin/python3",
  ]);
  expect(commandFiles("python", { Path: "C:\\Py;." }, "win32")).toEqual(["C:\\Py\\python.exe"]);
});

test.each([
  ["/work/net/.venv/bin/python", true],
  ["/work/net2/bin/python", false],
  ["/work/net/..venv/python", true],
])("%s lies in /work/net: %s", (file, expected) => {
  expect(isInside(file, ["/work/net"], "linux")).toBe(expected);
});
