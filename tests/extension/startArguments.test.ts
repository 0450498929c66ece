/** What may be typed after `npm start --`. */

import { expect, test } from "vitest";
import { startArguments } from "../../scripts/lib/startArguments.mjs";

test.each([
  [[], { file: null, opens: true }],
  [["model.py"], { file: "model.py", opens: true }],
  [["--no-open"], { file: null, opens: false }],
  [["--no-open", "model.py"], { file: "model.py", opens: false }],
])("%j is understood", (typed, expected) => {
  expect(startArguments(typed)).toEqual(expected);
});

test.each([
  [["--noopen"], "--noopen is not an option of npm start."],
  [["model.py", "-x", "--quiet"], "-x --quiet is not an option of npm start."],
  [["a.py", "b.py"], "npm start takes one file, not a.py, b.py."],
])("%j is refused by name", (typed, message) => {
  expect(() => startArguments(typed)).toThrow(message);
});
