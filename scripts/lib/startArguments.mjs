/** What was typed after `npm start --`. */

import { StepFailure } from "./steps.mjs";

const NO_OPEN = "--no-open";
const USAGE = `npm start -- [FILE] [${NO_OPEN}]`;

/**
 * Refuses by name what has no meaning: a misspelt option must not do what was not wanted.
 * @param {readonly string[]} typed
 * @returns {{ file: string | null, opens: boolean }}
 */
export function startArguments(typed) {
  const unknown = typed.filter((it) => it.startsWith("-") && it !== NO_OPEN);
  if (unknown.length > 0) {
    throw new StepFailure(
      `${unknown.join(" ")} is not an option of npm start.`,
      `The only option is ${NO_OPEN}: ${USAGE}`,
    );
  }
  const files = typed.filter((it) => !it.startsWith("-"));
  if (files.length > 1) {
    throw new StepFailure(`npm start takes one file, not ${files.join(", ")}.`, USAGE);
  }
  return { file: files[0] ?? null, opens: !typed.includes(NO_OPEN) };
}
