/** Stands for the library's client, without a process: its state is what a test says. */

interface Change {
  readonly oldState: number;
  readonly newState: number;
}
type Shown = boolean | "force";
type Handle = (token: string, work: object, next: () => void) => void;
interface Options {
  readonly middleware: { readonly handleWorkDoneProgress: Handle };
}

export const State = { Stopped: 1, Running: 2, Starting: 3, StartFailed: 4 };
export const WorkDoneProgressCancelNotification = {};

/** The server as the library sees it, and what the library told the person of it. */
export const server = {
  initializes: true,
  shutsDown: true,
  starts: 0,
  ends: 0,
  shown: [] as string[],
};

export function reset(): void {
  Object.assign(server, { initializes: true, shutsDown: true, starts: 0, ends: 0, shown: [] });
}

export class LanguageClient {
  state = State.Stopped;
  readonly options: Options;
  #listeners: ((change: Change) => void)[] = [];

  constructor(_id: string, _name: string, _command: object, options: Options) {
    this.options = options;
  }

  onNotification(): void {}

  onDidChangeState(listener: (change: Change) => void): void {
    this.#listeners.push(listener);
  }

  become(newState: number): void {
    const oldState = this.state;
    this.state = newState;
    for (const listener of this.#listeners) listener({ oldState, newState });
  }

  async start(): Promise<void> {
    server.starts += 1;
    this.become(State.Starting);
    if (!server.initializes) await new Promise(() => {});
    this.become(State.Running);
  }

  /** The library kills a server that does not answer, and rejects. */
  async dispose(): Promise<void> {
    server.ends += 1;
    this.error("Stopping server", undefined, "force");
    this.become(State.Stopped);
    if (!server.initializes || !server.shutsDown) throw new Error("Stopping timed out");
  }

  error(message: string, _data?: unknown, shown?: Shown): void {
    if (shown === "force") server.shown.push(message);
  }
}
