import { test } from "vitest";
import { startCodeServer } from "./codeServer";
import { Workbench } from "./workbench";
test("try", async () => {
  const server = await startCodeServer({ workspace: "/work/main" });
  try {
    const w = await Workbench.open(server.url, { height: 1800 });
    await w.openFile("examples/gpt.py");
    await w.page.waitForTimeout(15000);
    console.log(JSON.stringify(await w.lines(), null, 0).slice(0, 3000));
    console.log(JSON.stringify(await w.lenses()));
    console.log(await w.status(), await w.notifications());
    await w.screenshot("/tmp/try.png");
    await w.close();
  } finally {
    console.log(server.logs().slice(-5000));
    await server.stop();
  }
});
