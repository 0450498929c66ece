/**
 * Work that can be cancelled, shown as a notification with a button.
 *
 * The language client shows all work of a server in the status bar, where nothing can be cancelled.
 */

import * as vscode from "vscode";
import {
  type LanguageClient,
  type ProgressToken,
  type WorkDoneProgressBegin,
  WorkDoneProgressCancelNotification,
  type WorkDoneProgressEnd,
  type WorkDoneProgressReport,
} from "vscode-languageclient/node";

type Work = WorkDoneProgressBegin | WorkDoneProgressReport | WorkDoneProgressEnd;

interface Shown {
  readonly report: (work: WorkDoneProgressReport) => void;
  readonly end: () => void;
}

export class ProgressNotifications {
  readonly #shown = new Map<ProgressToken, Shown>();
  #client: LanguageClient | undefined;

  attach(client: LanguageClient): void {
    this.#client = client;
  }

  /** Middleware of the language client; `next` is its own way of showing. */
  readonly handle = (
    token: ProgressToken,
    work: Work,
    next: (token: ProgressToken, work: Work) => void,
  ): void => {
    switch (work.kind) {
      case "begin":
        if (work.cancellable === true) this.#begin(token, work);
        else next(token, work);
        return;
      case "report": {
        const shown = this.#shown.get(token);
        if (shown === undefined) next(token, work);
        else shown.report(work);
        return;
      }
      case "end":
        this.#shown.get(token)?.end();
        this.#shown.delete(token);
        next(token, work);
        return;
      default:
        work satisfies never;
    }
  };

  /** The server is gone: nothing else ends what it had begun. */
  endAll(): void {
    for (const shown of this.#shown.values()) shown.end();
    this.#shown.clear();
  }

  #begin(token: ProgressToken, work: WorkDoneProgressBegin): void {
    const location = vscode.ProgressLocation.Notification;
    void vscode.window.withProgress(
      { location, title: `IrEne: ${work.title}`, cancellable: true },
      (progress, cancel) =>
        new Promise<void>((end) => {
          let reported = 0;
          const report = (it: { message?: string; percentage?: number }) => {
            const percentage = it.percentage ?? reported;
            progress.report({ message: it.message, increment: percentage - reported });
            reported = percentage;
          };
          report(work);
          this.#shown.set(token, { report, end });
          cancel.onCancellationRequested(() => {
            void this.#client?.sendNotification(WorkDoneProgressCancelNotification.type, { token });
          });
        }),
    );
  }
}
