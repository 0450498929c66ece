/** What is built from the checkout: the Node modules, the extension's bundle, the wheel, the VSIX. */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { commands, python } from "./python.mjs";
import { unlessUnchanged } from "./stamps.mjs";
import { root, run } from "./steps.mjs";

const dist = path.join(root, "dist");
const isWindows = process.platform === "win32";

/** Node modules as the lock file says. */
export function nodeModules() {
  return unlessUnchanged(
    path.join(root, "node_modules", ".irene-stamp"),
    ["package-lock.json"],
    async () => {
      const advice =
        "Check the network and the free space on the disk, then run the same command again.";
      const npm = isWindows ? "npm.cmd" : "npm";
      await run("npm-ci", npm, ["ci", "--no-audit", "--no-fund"], { advice });
    },
  );
}

/** `dist/extension.js`, and the notices of what is bundled into it. */
export function extensionBundle() {
  const inputs = ["extension/src", "package-lock.json", "scripts/lib/build.mjs"];
  return unlessUnchanged(path.join(dist, ".bundle-stamp"), inputs, async () => {
    const { build } = await import("esbuild");
    const { metafile } = await build({
      absWorkingDir: root,
      entryPoints: ["extension/src/extension.ts"],
      outfile: "dist/extension.js",
      bundle: true,
      minify: true,
      metafile: true,
      platform: "node",
      format: "cjs",
      target: "node20",
      external: ["vscode"],
      logLevel: "silent",
    });
    writeFileSync(path.join(dist, "NOTICES.txt"), notices(Object.keys(metafile.inputs)));
  });
}

/** `dist/irene_energy-*.whl`: what the extension installs into an environment of its own. */
export function wheel() {
  const inputs = ["irene", "server", "pyproject.toml", "README.md", "LICENSE"];
  return unlessUnchanged(path.join(dist, ".wheel-stamp"), inputs, async () => {
    removeFromDist(".whl");
    mkdirSync(dist, { recursive: true });
    const args = ["-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps"];
    await run("wheel", python, [...args, "--no-build-isolation", "-w", dist, "."], {
      advice: "The last lines name the file that does not fit into the wheel.",
    });
  });
}

/**
 * `dist/irene-energy-VERSION.vsix`.
 * @returns {Promise<string | undefined>}
 */
export function vsix() {
  const inputs = [
    ...[
      "package.json",
      "package-lock.json",
      ".vscodeignore",
      "README.md",
      "CHANGELOG.md",
      "LICENSE",
    ],
    ...["media", "extension", "irene", "server", "pyproject.toml", "scripts/lib/build.mjs"],
  ];
  return unlessUnchanged(path.join(dist, ".vsix-stamp"), inputs, async () => {
    removeFromDist(".vsix");
    const vsce = path.join(root, "node_modules", "@vscode", "vsce", "vsce");
    const args = [
      "package",
      "--no-dependencies",
      "--no-rewrite-relative-links",
      "--allow-missing-repository",
    ];
    await run("vsce", process.execPath, [vsce, ...args, "--out", vsixFile()], {
      advice: "The last lines name the part of package.json or .vscodeignore that is wrong.",
      // vsce asks the registry for a newer version of itself unless it is told that this is CI.
      env: { ...process.env, CI: "true", PATH: `${commands}${path.delimiter}${process.env.PATH}` },
    });
  });
}

export function vsixFile() {
  const { name, version } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
  return path.join(dist, `${name}-${version}.vsix`);
}

/** @param {string} ending */
function removeFromDist(ending) {
  if (!existsSync(dist)) return;
  for (const name of readdirSync(dist)) {
    if (name.endsWith(ending)) rmSync(path.join(dist, name));
  }
}

/**
 * The licence of each package that went into the bundle.
 * @param {readonly string[]} inputs
 */
function notices(inputs) {
  const packages = inputs.map((it) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(it)?.[1]);
  const folders = [...new Set(packages.filter((it) => it !== undefined))].sort();
  return folders.map(notice).join("\n");
}

/** @param {string} folder */
function notice(folder) {
  const full = path.join(root, folder);
  const { name, version, license } = JSON.parse(
    readFileSync(path.join(full, "package.json"), "utf8"),
  );
  const file = readdirSync(full).find((it) => /^(licen[cs]e|copying)/i.test(it));
  const text = file === undefined ? "" : readFileSync(path.join(full, file), "utf8").trim();
  return `${"-".repeat(80)}\n${name} ${version} (${license})\n\n${text}\n`;
}
