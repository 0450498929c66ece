/** Packages of the system, where it is Debian or Ubuntu. */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { run, StepFailure } from "./steps.mjs";

export const isDebian = process.platform === "linux" && existsSync("/usr/bin/apt-get");

/**
 * Installs what is missing; asks for nothing where all is there.
 * @param {readonly string[]} packages
 */
export async function installPackages(packages) {
  const missing = packages.filter((it) => !isInstalled(it));
  if (missing.length === 0) return;
  const advice = `Install these packages yourself, then run the same command again: ${missing.join(" ")}`;
  const sudo = process.getuid?.() === 0 ? [] : ["sudo", "-n"];
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const [command = "apt-get", ...before] = [...sudo, "apt-get"];
  if (sudo.length > 0 && spawnSync("sudo", ["-n", "true"]).status !== 0) {
    throw new StepFailure(`Packages of the system are missing: ${missing.join(" ")}`, advice);
  }
  await run("apt-update", command, [...before, "update", "-q"], { advice, env });
  const install = ["install", "-y", "-q", "--no-install-recommends", ...missing];
  await run("apt-install", command, [...before, ...install], { advice, env });
}

/** @param {string} name */
function isInstalled(name) {
  const asked = spawnSync("dpkg-query", ["-W", "-f=${Status}", name], { encoding: "utf8" });
  return asked.status === 0 && asked.stdout.includes("ok installed");
}
