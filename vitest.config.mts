/** Unit tests of the extension's pure parts, and the packaged extension in a real editor. */

import { defineConfig } from "vitest/config";

const inEditor = {
  globalSetup: "tests/e2e/extensions.ts",
  fileParallelism: false,
  testTimeout: 180_000,
  hookTimeout: 180_000,
};

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["tests/extension/**/*.test.ts"] } },
      { test: { name: "e2e", include: ["tests/e2e/**/*.test.ts"], ...inEditor } },
      { test: { name: "pictures", include: ["tests/e2e/pictures.ts"], ...inEditor } },
    ],
  },
});
