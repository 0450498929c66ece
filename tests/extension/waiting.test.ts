/** Waiting that ends by a limit or by a signal. */

import { describe, expect, test } from "vitest";
import { unlessAborted, within } from "../../extension/src/waiting";

const hanging = new Promise<string>(() => {});

describe("a limit", () => {
  test("leaves what is there in time as it is", async () => {
    expect(await within(Promise.resolve("there"), 1_000, "The answer")).toBe("there");
    await expect(within(Promise.reject(new Error("broken")), 1_000, "")).rejects.toThrow("broken");
  });

  test("names what took too long", async () => {
    await expect(within(hanging, 10, "The answer")).rejects.toThrow(
      "The answer took longer than 0.01 s",
    );
  });
});

describe("a signal", () => {
  test("that is not aborted changes nothing", async () => {
    const { signal } = new AbortController();
    expect(await unlessAborted(Promise.resolve("there"), signal)).toBe("there");
    await expect(unlessAborted(Promise.reject(new Error("broken")), signal)).rejects.toThrow(
      "broken",
    );
  });

  test("frees who waits, also where it was aborted before", async () => {
    const wanted = new AbortController();
    const waiting = expect(unlessAborted(hanging, wanted.signal)).rejects.toThrow("enough");
    wanted.abort(new Error("enough"));
    await waiting;
    await expect(unlessAborted(hanging, wanted.signal)).rejects.toThrow("enough");
  });
});
