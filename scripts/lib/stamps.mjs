/** Stamps: a result is made anew only when what it was made from has changed. */

import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { root } from "./steps.mjs";

const IGNORED = new Set(["__pycache__", "node_modules"]);

/**
 * @param {string} stamp file that remembers what the result was made from
 * @param {readonly string[]} inputs files and folders, relative to the repository
 * @param {() => Promise<void>} make
 * @param {readonly string[]} [facts] what else the result depends on
 * @returns {Promise<string | undefined>} a remark for the step
 */
export async function unlessUnchanged(stamp, inputs, make, facts = []) {
  const key = digest(inputs, facts);
  if (read(stamp) === key) return "nothing changed";
  rmSync(stamp, { force: true });
  await make();
  mkdirSync(path.dirname(stamp), { recursive: true });
  writeFileSync(stamp, key);
  return undefined;
}

/**
 * @param {readonly string[]} inputs
 * @param {readonly string[]} facts
 */
function digest(inputs, facts) {
  const hash = createHash("sha256");
  for (const fact of facts) hash.update(`${fact}\0`);
  for (const file of inputs.flatMap(filesOf).sort()) {
    hash
      .update(`${file}\0`)
      .update(readFileSync(path.join(root, file)))
      .update("\0");
  }
  return hash.digest("hex");
}

/**
 * @param {string} name
 * @returns {string[]}
 */
function filesOf(name) {
  const full = path.join(root, name);
  if (!existsSync(full)) return [];
  if (!statSync(full).isDirectory()) return [name];
  return readdirSync(full)
    .filter((it) => !IGNORED.has(it))
    .flatMap((it) => filesOf(path.join(name, it)));
}

/** @param {string} file */
function read(file) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return null;
  }
}
